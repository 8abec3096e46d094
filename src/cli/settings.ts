/**
 * `postern settings`: what the console has set for all gates, listed and taken back without it: in the state that
 * they share, as its owner.
 * Rule: it needs no gate, and no admin who can sign in; what is there may be taken back, whatever it is.
 */
import { findSetting } from '../config/runtime_settings.ts'
import { listSettings, SETTINGS_SHOWN_MAX, setSetting } from '../state/changes.ts'
import type { KeptSetting } from '../state/snapshot.ts'
import { howSoon, inStateOf, timeText, usage } from './in_state.ts'
import { readConfig } from './serve.ts'
import { printable, type World } from './terminal.ts'

export interface SettingsOptions {
  config: string
}

const LIST = 'postern settings list'

/** @throws Failure `usage`, `state_unusable`, or one of the configuration's */
export async function listSet({ config }: SettingsOptions, world: World): Promise<void> {
  await inStateOf(readConfig(config, world), LIST, world, async (session) => {
    const all = await listSettings(session)
    if (all.length === 0) world.stdout.write('Nothing is set.\n')
    for (const each of all) world.stdout.write(`${line(each)}\n`)
    if (all.length === SETTINGS_SHOWN_MAX) world.stdout.write(`(the first ${SETTINGS_SHOWN_MAX})\n`)
  })
}

/** @param name - as `list` has it, or as the console takes it. @throws as `listSet` */
export async function resetOne(
  name: string,
  { config: file }: SettingsOptions,
  world: World,
): Promise<void> {
  const config = readConfig(file, world)
  const clusters = config.clusters.map((each) => each.name)
  await inStateOf(config, LIST, world, async (session) => {
    const all = await listSettings(session)
    const set = all.some((each) => each.name === name)
    const full = set ? name : (findSetting(name, clusters)?.name ?? name)
    const statement = `postern settings: reset ${full}`
    const nowhere = { address: '', session: '', cluster: '' }
    await setSetting(
      session,
      { name: full, value: undefined, who: world.userName },
      world.now(),
      { change: 'set_cluster_setting', statement, ...nowhere },
      (now) => {
        if (!now.has(full)) throw usage(`this is not set; ${LIST}`)
      },
    )
    world.stdout.write(`Reset: ${printable(full)}\n${howSoon(session.dialect, '')}`)
  })
}

function line({ name, value, who, at }: KeptSetting): string {
  return printable(`${timeText(at)}  ${name} = ${value}${who === '' ? '' : ` (by ${who})`}`)
}
