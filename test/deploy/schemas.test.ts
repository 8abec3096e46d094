/**
 * The manifests of deploy/kubernetes against Kubernetes' own API, as types that were made of its OpenAPI schemas: the compiler
 * finds a field that no object has, a value of another type, and one that is missing.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { type Manifest, readFolder } from '../support/manifests.ts'
import { makeDirectory, ROOT, run } from '../support/tools.ts'

const TYPES = join(ROOT, 'node_modules/kubernetes-types')
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
const OPTIONS = {
  noEmit: true,
  strict: true,
  module: 'esnext',
  moduleResolution: 'bundler',
  types: [],
}

/** @returns what the compiler says, without its paths */
async function check(manifests: readonly Manifest[]): Promise<string[]> {
  const dir = await makeDirectory()
  const texts = manifests.map((manifest, at) => {
    const [group = '', version = 'core/v1'] = manifest.apiVersion.split('/')
    // Groups are named without the domain that they are of; the first one has no name.
    const path = manifest.apiVersion === 'v1' ? version : `${group.split('.')[0]}/${version}`
    const type = `import('${TYPES}/${path}').${manifest.kind}`
    return `export const manifest${at}: ${type} = ${JSON.stringify(manifest, null, 2)}\n`
  })
  await writeFile(join(dir, 'manifests.ts'), texts.join('\n'))
  await writeFile(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions: OPTIONS }))
  const { stdout } = await run(process.execPath, [TSC, '--pretty', 'false'], { cwd: dir })
  return stdout
    .split('\n')
    .filter((line) => /^\S/.test(line))
    .map((line) => line.replace(/^.*?: error /, ''))
}

it.each(['base', 'sidecar'])('%s has what Kubernetes knows', async (name) => {
  const { manifests } = readFolder(name)
  expect(manifests.length).toBeGreaterThan(0)
  expect(await check(manifests)).toEqual([])
})

it('a mistake would be seen', async () => {
  const { manifests } = readFolder('base')
  const broken = structuredClone(readFolder('base').all('Deployment'))
  for (const { spec } of broken) Object.assign(spec, { replica: 2 })
  expect(await check(broken)).toEqual([expect.stringMatching(/'"replica"' does not exist/)])
  const service = manifests.find(({ kind }) => kind === 'Service')
  const another = { ...service, spec: { ports: [{ name: 'sql' }] } }
  expect(await check([another as unknown as Manifest])).toEqual([
    expect.stringMatching(/Property 'port' is missing/),
  ])
})
