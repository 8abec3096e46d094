/** All targets, in the order in which a run takes them. */
import { askTargets } from './ask_targets.ts'
import { configTargets } from './config_targets.ts'
import { consoleTargets } from './console_targets.ts'
import { gateTargets } from './gate_targets.ts'
import { identityTargets } from './identity_targets.ts'
import { issuerTargets } from './issuer_targets.ts'
import { listTargets } from './list_targets.ts'
import { nodeTargets } from './node_targets.ts'
import { policyTargets } from './policy_targets.ts'
import { ruleTargets } from './rule_targets.ts'
import { saslTargets } from './sasl_targets.ts'
import { sessionTargets } from './session_targets.ts'
import { stateTargets } from './state_targets.ts'
import type { Target } from './target.ts'
import { telemetryTargets } from './telemetry_targets.ts'
import { tokenTargets } from './token_targets.ts'
import { wireTargets } from './wire_targets.ts'

export const TARGETS: readonly Target[] = [
  ...wireTargets,
  ...saslTargets,
  ...askTargets,
  ...nodeTargets,
  ...identityTargets,
  ...tokenTargets,
  ...issuerTargets,
  ...configTargets,
  ...listTargets,
  ...ruleTargets,
  ...policyTargets,
  ...stateTargets,
  ...consoleTargets,
  ...telemetryTargets,
  ...gateTargets,
  ...sessionTargets,
]
