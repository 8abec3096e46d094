/**
 * The events of the audit stream. Names, fields and reasons are CockroachDB's authentication events;
 * the fields that only a gate knows come after them. A token is in none of them.
 * https://www.cockroachlabs.com/docs/stable/eventlog#sql-session-events
 */
import type { Reason } from '../failure.ts'
import type { Findings } from '../identity/findings.ts'
import type { LoginParts } from './login_time.ts'

/** Fields that every event has. Durations are in milliseconds. */
export interface Connection {
  /** Also in the HINT of every refusal: the way from a user's screen to this line. */
  SessionID: string
  Network: 'tcp' | 'unix'
  RemoteAddress: string
  Transport: 'hostssl' | 'host' | 'local'
  Cluster: string
  User: string
  Database: string
  ApplicationName: string
}

/** What the token said, once it was verified. */
export interface Identity {
  /** The principals of the token's claim; like `Subject` and `TokenID` cut at 256 characters, with a mark. */
  SystemIdentity: string
  /** `sub`, where the token has one. */
  Subject: string
  Issuer: string
  KeyID: string
  TokenID: string
  TokenDigest: string
  /** Seconds since the epoch; 0 where the token doesn't say. */
  TokenExpiry: number
}

/** TLS on the client's leg, as it was negotiated. */
export interface Encryption {
  version: string
  cipher: string
  serverName: string
  alpn: string
  /** The client certificate's subject; empty where none was shown. */
  clientSubject: string
}

/** What a login does on the cluster before its session: its role's powers, the role itself, its groups. */
export type Step = 'powers' | 'provisioning' | 'groups'

/**
 * One record a login, with all that the gate's decision rests on. A grant is written before its effect:
 * where the node then refuses, `client_authentication_failed` with the same SessionID says so.
 */
export interface Decision {
  EventType: 'login_decision'
  Result: 'granted' | 'refused'
  /** The failure's code and its words, where it was refused. */
  Failure: string
  Why: string
  /** What of it the client is told as DETAIL. */
  Detail: string
  /** Which rule of \`access\` let it in, by its place in the file; empty where there are none, or none did. */
  AccessRule: string
  /** What was under way on the cluster when it was refused; empty where nothing was. */
  Step: Step | ''
  Replication: boolean
  Tls: Encryption | null
  /** What came to light of the token; see `Findings`. */
  Token: Findings
  /** The audiences that the cluster accepts. */
  AcceptedAudiences: readonly string[]
  Role: string
}

/** A user that the gate makes, and roles whose member it makes a user, or makes no more. */
export type RoleChange =
  | { EventType: 'create_role'; RoleName: string; Source: string }
  | {
      EventType: 'grant_role' | 'revoke_role'
      GranteeRoles: readonly string[]
      Members: readonly string[]
    }

/**
 * What somebody changed by the console, written before its effect; who it was is in the fields of its session.
 */
export type Change =
  | {
      EventType: 'set_cluster_setting'
      SettingName: string /** Empty: as it is by default. */
      Value: string
    }
  | {
      EventType: 'revoke'
      Kind: string
      RevokedIssuer: string
      Value: string /** Seconds since the epoch; 0: whenever it was issued. */
      Before: number
      Why: string
    }
  | { EventType: 'cancel_session'; CanceledSessionID: string; CanceledUser: string }
  | {
      EventType: 'drain_node'
      NodeCluster: string
      NodeName: string /** False: it takes sessions again. */
      Drained: boolean
    }
  | { EventType: 'reload' }

/** What happened. */
export type Happening =
  | Decision
  | RoleChange
  | (Change & { /** As it was said, with its values */ Statement: string } & Identity)
  | ({
      EventType: 'client_authentication_ok'
      Node: string
      /** `warm`: another client of the same principal had it before. */
      NodeSession: 'new' | 'warm'
      /** The rule of `access` that let it in; empty where there are none. */
      AccessRule: string
      Duration: number
      /** Of it, who was waited for; without what it took to write this down. */
      Durations: LoginParts
    } & Identity)
  | ({
      EventType: 'client_authentication_failed'
      Reason: Reason
      /** The failure's code in docs/failures.md. */
      Failure: string
      Sqlstate: string
      /** What the client was told, and what only the log is told. */
      Detail: string
    } & Partial<Identity>)
  | ({
      EventType: 'client_session_end'
      Duration: number
      /** Who ended it, and how. */
      Ended: string
      /** Null where they were lost with the worker that had the session. */
      BytesToClient: number | null
      BytesToNode: number | null
    } & Identity)

/** How the token was given: as a password, or by SASL; or there was none, and the node itself judged. */
export type Method = 'jwt_token' | 'oauthbearer' | 'passthrough'

export type AuditEvent = Happening & Connection & { Method: Method }
