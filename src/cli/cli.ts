/** DOOR. The command line: which commands there are, and what their help says. One file a command. */
import { Command, CommanderError } from 'commander'
import { FAILURES } from '../failure.ts'
import { type AccessOptions, listAccess, putIntoList, takeFromList } from './access.ts'
import { days, gateAddress, moment, name, port, seconds, time } from './arguments.ts'
import { auditHeads, auditVerify, type HeadsOptions, type VerifyOptions } from './audit.ts'
import { type CaOptions, caInit, caRotate, caShow } from './ca.ts'
import { type CheckOptions, check } from './check.ts'
import { clusterDoctor, clusterSetup, type DoctorOptions, type SetupOptions } from './cluster.ts'
import { DEV_PORT, dev } from './dev.ts'
import { type ExplainOptions, explain } from './explain.ts'
import { type ReplayOptions, replay } from './replay.ts'
import { liftOne, listAll, REVOCABLE, type RevokeOptions, revokeOne } from './revoke.ts'
import { serve } from './serve.ts'
import { listSet, resetOne, type SettingsOptions } from './settings.ts'
import { complain, type World } from './terminal.ts'
import { token } from './token.ts'

const EXAMPLES = `
Examples:
  $ postern dev                                  a whole local cluster, ready to sign in to
  $ PGPASSWORD=$(postern token --sub maxroach) psql "postgresql://…"
  $ postern check --config /etc/postern.yaml     what is wrong or unwise in a configuration
  $ postern serve --config /etc/postern.yaml     a gate in front of your own cluster
  $ postern explain < token.txt                  why a token is refused, check by check
  $ postern revoke session 1869a5c2d3f4e5b6 --config /etc/postern.yaml   throw somebody out`

/** @param args - what follows the program's name. @returns the exit code. */
export async function runCli(args: string[], world: World): Promise<number> {
  const program = commands(world)
  try {
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return complain(world, thrown)
    return thrown.exitCode === 0 ? 0 : FAILURES.usage.exit
  }
}

function commands(world: World): Command {
  const program = new Command('postern')
    .description(
      'One guarded gate in front of a Postgres-wire cluster: sign in with a JWT, as yourself.',
    )
    .version(world.version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print the help of a command')
    .configureOutput({
      writeOut: (text) => world.stdout.write(text),
      writeErr: (text) => world.stderr.write(text),
    })
    .showHelpAfterError('(postern help shows what there is)')
    .exitOverride()
    .addHelpText('after', EXAMPLES)
  addServe(program, world)
  addCheck(program, world)
  addExplain(program, world)
  addDev(program, world)
  addCa(program, world)
  addCluster(program, world)
  addRevoke(program, world)
  addAccess(program, world)
  addSettings(program, world)
  addAudit(program, world)
  addReplay(program, world)
  program
    .command('version')
    .description('print the version')
    .action(() => void world.stdout.write(`${world.version}\n`))
  const inherit = (command: Command) => {
    command.exitOverride().copyInheritedSettings(program)
    command.commands.forEach(inherit)
  }
  program.commands.forEach(inherit)
  return program
}

function addServe(program: Command, world: World): void {
  program
    .command('serve')
    .description('open the gate that a configuration file describes')
    .requiredOption(
      '--config <file>',
      'the configuration file (config/postern.yaml explains every key)',
    )
    .addHelpText('after', '\nExample:\n  $ postern serve --config /etc/postern.yaml')
    .action((options: { config: string }) => serve(options, world))
}

function addCheck(program: Command, world: World): void {
  program
    .command('check')
    .description(
      'tell every mistake in a configuration file, and what is unwise in one without any',
    )
    .requiredOption('--config <file>', 'the configuration file')
    .option('--strict', 'end with exit code 1 where something is unwise')
    .option('--as <who>', 'which access rule would decide about user=…,address=…,database=…')
    .addHelpText(
      'after',
      '\nExamples:\n  $ postern check --config /etc/postern.yaml\n  $ postern check --config /etc/postern.yaml --as user=carl,address=192.0.2.7',
    )
    .action((options: CheckOptions) => check(options, world))
}

function addExplain(program: Command, world: World): void {
  program
    .command('explain')
    .description('why a token, read from standard input, or a login of the past was refused')
    .option('--config <file>', 'the configuration file of the gate (for a token: postern.yaml)')
    .option('--cluster <name>', 'the cluster, where the configuration has several', name)
    .option('--user <name>', 'who to sign in as (default: who the token may be)', name)
    .option('--at <time>', 'judge at this time: ISO 8601, or seconds since 1970', time)
    .option('--oauthbearer', 'as a PostgreSQL 18 client gives it, by OAUTHBEARER')
    .option('--request-id <id>', 'the login with the request id that the client was told', name)
    .option('--audit <file>', "the file of the gate's audit stream, or - for standard input")
    .option('--json', 'for machines')
    .addHelpText(
      'after',
      '\nExample:\n  $ postern explain --config /etc/postern.yaml --user maxroach < token.txt\n  $ postern explain --request-id 1869a5c2d3f4e5b6 --audit /var/log/postern/audit.log',
    )
    .action((options: ExplainOptions) => explain(options, world))
}

function addDev(program: Command, world: World): void {
  program
    .command('dev')
    .description('a whole local cluster: PostgreSQL, a token issuer, and the gate with TLS')
    .option('--port <port>', "the gate's port on 127.0.0.1", port, DEV_PORT)
    .option(
      '--data <dir>',
      'keep the data here (default: a temporary directory, removed at the end)',
    )
    .addHelpText('after', '\nExample:\n  $ postern dev --data ./postern-data')
    .action((options: { port: number; data?: string }) => dev(options, world))
  program
    .command('token')
    .description('print a fresh token of the development issuer that `postern dev` runs')
    .requiredOption('--sub <name>', 'the subject: the user to sign in as')
    .option('--ttl <seconds>', 'how long it is good, at most a day', seconds, 3600)
    .option('--port <port>', "the development gate's port", port, DEV_PORT)
    .option('--data <dir>', 'the --data directory of the development gate')
    .addHelpText('after', '\nExample:\n  $ PGPASSWORD=$(postern token --sub maxroach) psql …')
    .action((options: { sub: string; ttl: number; port: number; data?: string }) =>
      token(options, world),
    )
}

function addCa(program: Command, world: World): void {
  const ca = program
    .command('ca')
    .description('the authority that signs for `sign_in: certificate`')
    .addHelpText('after', '\nExample:\n  $ postern ca init --dir /etc/postern/ca')
  const commands = [
    ['init', 'make an authority, and the file that the nodes trust', caInit],
    ['rotate', 'replace it in three steps, each of which says what to do next', caRotate],
    ['show', 'who signs, until when, and what is wrong with it', caShow],
  ] as const
  for (const [name, description, run] of commands)
    ca.command(name)
      .description(description)
      .option('--dir <dir>', 'where its files are', 'ca')
      .option('--name <name>', 'the name of a new authority', 'Postern client CA')
      .option('--days <days>', 'how long a new authority is good', days, 730)
      .action((options: CaOptions) => run(options, world))
}

function addCluster(program: Command, world: World): void {
  const cluster = program
    .command('cluster')
    .description("what a gate needs on its cluster: print it, and find what's missing")
    .addHelpText(
      'after',
      '\nExample:\n  $ postern cluster setup --config /etc/postern.yaml\n  $ postern cluster doctor --config /etc/postern.yaml --role maxroach',
    )
  cluster
    .command('setup')
    .description('print what the nodes need, a block for each place, ready to paste')
    .requiredOption('--config <file>', 'the configuration file of the gate')
    .option('--cluster <name>', 'the cluster, where the configuration has several', name)
    .option('--gate-address <address>', "the gate's address, as the nodes see it", gateAddress)
    .option('--os-user <name>', 'whom the gate runs as (default: who runs this)', name)
    .action((options: SetupOptions) => clusterSetup(options, world))
  cluster
    .command('doctor')
    .description('try each step of a sign-in to the node, and say what is missing')
    .requiredOption('--config <file>', 'the configuration file of the gate')
    .option('--cluster <name>', 'the cluster, where the configuration has several', name)
    .option(
      '--role <name>',
      'sign in as this role (default: one that the management role finds)',
      name,
    )
    .option('--database <name>', 'sign in to this database (default: postgres or defaultdb)', name)
    .option('--os-user <name>', 'whom the gate runs as (default: who runs this)', name)
    .action((options: DoctorOptions) => clusterDoctor(options, world))
}

function addAudit(program: Command, world: World): void {
  const audit = program
    .command('audit')
    .description('prove what a gate has written')
    .addHelpText('after', AUDIT_EXAMPLES)
  const several = (value: string, before: string[] = []) => [...before, value]
  audit
    .command('verify <file...>')
    .description(
      "find lines that are missing, changed or nobody's; files of one stream, the oldest first",
    )
    .requiredOption('--key-file <file>', 'the key of the seal; once more for an older one', several)
    .option('--head <head>', 'a file of heads (audit.anchor), or one as chain:seq:mac', several)
    .option('--since <time>', 'older chains from before it may be missing: ISO 8601', time)
    .option('--json', 'for machines')
    .action((files: string[], options: VerifyOptions) => auditVerify(files, options, world))
  audit
    .command('heads')
    .description('print the heads that gates keep in their shared state')
    .requiredOption('--config <file>', 'the configuration file of the gates')
    .option('--gate <host>', 'of the gate on this host alone')
    .action((options: HeadsOptions) => auditHeads(options, world))
}

function addReplay(program: Command, world: World): void {
  program
    .command('replay')
    .description('judge recorded logins by another configuration, and say what would change')
    .requiredOption('--config <file>', 'the configuration file to try')
    .requiredOption('--audit <file>', "the file of a gate's audit stream, or - for standard input")
    .option('--since <time>', 'what came after: ISO 8601, or seconds since 1970', time)
    .option('--json', 'for machines')
    .addHelpText(
      'after',
      '\nExample:\n  $ postern replay --config new.yaml --audit /var/log/postern/audit.log --since 2026-01-31',
    )
    .action((options: ReplayOptions) => replay(options, world))
}

const AUDIT_EXAMPLES = `
Examples:
  $ postern audit verify /var/log/postern/audit.log --key-file audit.key --head /mnt/elsewhere/audit.heads
  $ postern audit heads --config postern.yaml > heads`

function addRevoke(program: Command, world: World): void {
  const revoke = program
    .command('revoke')
    .description('take a token, a session, a subject or an issuer back, on all gates')
    .addHelpText('after', REVOKE_EXAMPLES)
  const configured = (command: Command) =>
    command.requiredOption('--config <file>', 'the configuration file of the gates')
  const lift = revoke.command('lift').description('let in again what was revoked')
  for (const kind of KINDS) {
    const { names, says, byAge, byIssuer } = REVOCABLE[kind]
    const spelled = `${kind} ${names}`.trim()
    const [command, again] = [revoke, lift].map((each) =>
      configured(each.command(spelled).description(says)),
    )
    for (const each of [command, again])
      if (byIssuer)
        each?.option('--issuer <issuer>', "this issuer's alone (default: whichever issuer's)")
    if (byAge)
      command?.option('--before <time>', 'what was issued before (default: all)', moment(world))
    command
      ?.option('--until <time>', 'when it ends (default: never)', moment(world))
      .option('--why <text>', 'for the log, and for the list')
      .action((...given: unknown[]) => {
        const [options, names] = split(given)
        return revokeOne(kind, names, options, world)
      })
    again?.action((...given: unknown[]) => {
      const [options, names] = split(given)
      return liftOne(kind, names, options, world)
    })
  }
  configured(revoke.command('list').description('all that is revoked, and by whom')).action(
    (options: RevokeOptions) => listAll(options, world),
  )
}

const KINDS = ['token', 'digest', 'session', 'subject', 'issuer', 'all'] as const

const REVOKE_EXAMPLES = `
Times are ISO 8601, seconds since 1970, or now.

Examples:
  $ postern revoke subject https://issuer.example.com maxroach --config postern.yaml --why "has left"
  $ postern revoke subject https://issuer.example.com maxroach --config postern.yaml --before now
  $ postern revoke token 7f3a… --issuer https://issuer.example.com --config postern.yaml
  $ postern revoke session 1869a5c2d3f4e5b6 --config postern.yaml
  $ postern revoke all --before 2026-01-31T12:00:00Z --config postern.yaml
  $ postern revoke list --config postern.yaml
  $ postern revoke lift subject https://issuer.example.com maxroach --config postern.yaml`

function addAccess(program: Command, world: World): void {
  const access = program
    .command('access')
    .description('entries of the allowlists and the denylist that gates share')
    .addHelpText('after', ACCESS_EXAMPLES)
  const configured = (command: Command) =>
    command.requiredOption('--config <file>', 'the configuration file of the gates')
  const removed = access.command('remove').description('take an entry out again')
  const ofList = (parent: Command, list: 'allow' | 'deny', says: string) => {
    const command = configured(parent.command(`${list} [network]`).description(says))
    if (list === 'deny') return command.option('--cluster <name>', 'a whole cluster', name)
    return command
      .option('--cluster <name>', 'whose allowlist it is (default: the only cluster)', name)
      .option('--nobody', 'no network: the cluster has an allowlist, be it empty')
  }
  for (const [list, says] of LISTS) {
    ofList(access, list, says)
      .option('--until <time>', 'when it ends (default: never)', moment(world))
      .option('--reason <text>', 'for the log, and for the list')
      .action((network: string | undefined, options: AccessOptions) =>
        putIntoList(list, network, options, world),
      )
    const again = ofList(removed, list, `what access ${list} wrote`)
    if (list === 'allow')
      again.option('--everybody', 'also the last one: whoever is not denied may come then')
    again.action((network: string | undefined, options: AccessOptions) =>
      takeFromList(list, network, options, world),
    )
  }
  configured(access.command('list').description('all entries, those that have ended too')).action(
    (options: AccessOptions) => listAccess(options, world),
  )
}

const LISTS = [
  ['allow', 'let an address or a network in to a cluster, and nobody who is not named'],
  ['deny', 'keep an address, a network or a whole cluster out'],
] as const

const ACCESS_EXAMPLES = `
A network is written like 10.0.0.0/8, fd00::/8, or as an address. Times are ISO 8601, or seconds since 1970.

Examples:
  $ postern access deny 203.0.113.0/24 --config postern.yaml --reason "scanner" --until 2030-01-31T23:59:59Z
  $ postern access deny --cluster old --config postern.yaml --reason "moved"
  $ postern access allow 10.0.0.0/8 --cluster main --config postern.yaml
  $ postern access allow --cluster main --nobody --config postern.yaml
  $ postern access list --config postern.yaml
  $ postern access remove deny 203.0.113.0/24 --config postern.yaml`

function addSettings(program: Command, world: World): void {
  const settings = program
    .command('settings')
    .description('what the console has set for all gates, for when nobody gets to the console')
    .addHelpText('after', SETTINGS_EXAMPLES)
  const configured = (command: Command) =>
    command.requiredOption('--config <file>', 'the configuration file of the gates')
  configured(settings.command('list').description('all that is set, and by whom')).action(
    (options: SettingsOptions) => listSet(options, world),
  )
  configured(
    settings.command('reset <name>').description('as the file says, or as it is by default'),
  ).action((named: string, options: SettingsOptions) => resetOne(named, options, world))
}

const SETTINGS_EXAMPLES = `
Examples:
  $ postern settings list --config postern.yaml
  $ postern settings reset limits.connections --config postern.yaml`

/** What commander hands on: the arguments, the options, and the command. */
function split(given: unknown[]): [RevokeOptions, string[]] {
  const names = given.filter((each) => typeof each === 'string')
  return [given[names.length] as RevokeOptions, names]
}
