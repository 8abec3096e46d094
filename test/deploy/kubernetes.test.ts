/**
 * deploy/kubernetes: manifests that agree with each other and with the configuration in them, pods that may
 * do little, and what kustomize makes of them.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { inspectConfig } from '../../src/config/config.ts'
import { file } from '../../src/config/schema.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { exampleFiles, outsideWith } from '../support/example.ts'
import { type Container, type Manifest, readFolder } from '../support/manifests.ts'
import { describeWith, ROOT, run } from '../support/tools.ts'

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const IMAGE = `postern:${version}`
const USER = 65532

/** What a pod is given beside its configuration, by the paths there, as the examples have it elsewhere. */
const MOUNTED: Record<string, string> = {
  '/etc/postern-tls/tls.crt': '/etc/postern/gate.crt',
  '/etc/postern-tls/tls.key': '/etc/postern/gate.key',
  '/etc/postern-cluster/ca.crt': '/etc/postern/cluster-ca.crt',
  '/run/postern/cluster-ca.crt': '/etc/postern/cluster-ca.crt',
  '/run/postern/ca.crt': '/etc/postern/ca/ca.crt',
  '/run/postern/ca.key': '/etc/postern/ca/ca.key',
  '/run/postern/gates-trusted.crt': '/etc/postern/ca/ca.crt',
  '/run/postern/gates-ca.key': '/etc/postern/ca/ca.key',
  '/run/issuer/ca.crt': '/etc/postern/ca.crt',
}

describe.each(['base', 'sidecar'])('%s', (name) => {
  const folder = readFolder(name)
  const [deployment] = folder.all('Deployment')
  if (deployment === undefined) throw new Error('no deployment')
  const { spec } = deployment.spec.template
  const containers: Container[] = [...spec.initContainers, ...spec.containers]
  const gate = containers.find((each) => each.name === 'gate') as Container
  const config = parse(folder.gateConfig)

  it('kustomize names every file that is there, and the gate the config map', () => {
    const { resources, configMapGenerator, generatorOptions } = folder.kustomization
    const named = [...resources, ...configMapGenerator.flatMap(({ files }) => files)]
    expect(readdirSync(folder.path).sort()).toEqual(['kustomization.yaml', ...named].sort())
    // Else each change of it would start all gates again.
    expect(generatorOptions.disableNameSuffixHash).toBe(true)
    const maps = spec.volumes.flatMap(({ configMap }) => (configMap ? [configMap.name] : []))
    for (const generated of configMapGenerator) expect(maps).toContain(generated.name)
  })

  it('its configuration has no mistake, and reads what the pod has', async () => {
    const examples = await exampleFiles()
    const files = Object.fromEntries(
      Object.entries(MOUNTED).map(([path, example]) => [path, examples[example] ?? '']),
    )
    const read = new Set<string>()
    const outside = outsideWith(files)
    const noting = {
      ...outside,
      readFile: (path: string) => {
        read.add(path)
        return outside.readFile(path)
      },
    }
    const inspected = inspectConfig('/etc/postern/postern.yaml', folder.gateConfig, noting)
    expect(warningsOf(inspected, outside).map(({ what }) => what)).toEqual([
      expect.stringMatching(/^0\.0\.0\.0 is not loopback, .* let only your monitoring reach it$/),
    ])
    expect(read.size).toBeGreaterThan(1)
    const mounts = gate.volumeMounts.map(({ mountPath }) => `${mountPath}/`)
    const options = Object.values<{ bearer_token_file: string }>(
      config.clusters.main.issuer_options,
    )
    for (const path of [...read, ...options.map((each) => each.bearer_token_file)])
      expect(mounts.some((mount) => path.startsWith(mount))).toBe(true)
  })

  it('its pods may do little, as anybody but root', () => {
    expect(spec.automountServiceAccountToken).toBe(false)
    expect(spec.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: USER,
      fsGroup: USER,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    for (const { securityContext, resources, volumeMounts } of containers) {
      expect(securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
      expect(Object.keys(resources)).toEqual(['requests', 'limits'])
      const known = spec.volumes.map((volume) => volume.name)
      for (const mount of volumeMounts) expect(known).toContain(mount.name)
    }
    expect(gate.image).toBe(IMAGE)
    expect(gate.args).toEqual(['serve', '--config', '/etc/postern/postern.yaml'])
    expect(gate.command).toBeUndefined()
  })

  it('its probes reach the operators door, and its end is late enough', () => {
    const ports = Object.fromEntries(
      (gate.ports ?? []).map(({ name, containerPort }) => [name, containerPort]),
    )
    const [host, port] = config.ops.listen.split(':')
    expect([host, Number(port)]).toEqual(['0.0.0.0', ports['ops']])
    expect(gate.livenessProbe?.httpGet).toEqual({ path: '/livez', port: 'ops' })
    expect(gate.readinessProbe?.httpGet).toEqual({ path: '/readyz', port: 'ops' })
    expect(gate.startupProbe?.httpGet.port).toBe('ops')
    const { grace } = file.shape.shutdown.parse(config.shutdown)
    const pause = Number(gate.lifecycle?.preStop.exec.command[1] ?? 0)
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(pause + grace / 1000)
  })

  it('selects the pods that it means', () => {
    const { labels } = deployment.spec.template.metadata
    const selectors = [
      deployment.spec.selector.matchLabels,
      ...folder.all('Service').map((each) => each.spec.selector),
      ...folder.all('PodDisruptionBudget').map((each) => each.spec.selector.matchLabels),
      ...folder.all('NetworkPolicy').map((each) => each.spec.podSelector.matchLabels),
    ]
    for (const selector of selectors) expect(labels).toMatchObject(selector)
    const ports = (gate.ports ?? []).map(({ name, containerPort }) => [name, containerPort])
    for (const { spec } of folder.all('Service'))
      for (const { port, targetPort } of spec.ports)
        expect(ports).toContainEqual([targetPort, port])
  })
})

describe('base', () => {
  const folder = readFolder('base')
  const [deployment] = folder.all('Deployment')
  const [policy] = folder.all('NetworkPolicy')
  const config = parse(folder.gateConfig)
  const gate = deployment?.spec.template.spec.containers[0]
  const portOf = (address: string) => Number(address.slice(address.lastIndexOf(':') + 1))

  it('has the ports of the configuration', () => {
    const ports = Object.fromEntries(
      gate?.ports?.map(({ name, containerPort }) => [name, containerPort]) ?? [],
    )
    expect(ports).toEqual({
      sql: portOf(config.listeners[0].address),
      gates: portOf(config.peers.listen),
      ops: portOf(config.ops.listen),
    })
    const [gates = ''] = config.peers.gates
    expect(gates).toBe(`postern-gates.${folder.kustomization.namespace}.svc.cluster.local:26258`)
    expect(folder.all('Service').map(({ metadata }) => metadata.name)).toContain(
      gates.split('.')[0],
    )
  })

  it('lets in who has to, and out to what the configuration names', () => {
    expect(policy?.spec.policyTypes).toEqual(['Ingress', 'Egress'])
    const inward = policy?.spec.ingress.flatMap(({ ports }) => ports.map(({ port }) => port))
    expect(new Set(inward)).toEqual(new Set(gate?.ports?.map(({ name }) => name)))
    // Nobody comes from just anywhere.
    for (const { from } of policy?.spec.ingress ?? [])
      for (const { podSelector, namespaceSelector } of from)
        expect(podSelector?.matchLabels ?? namespaceSelector?.matchLabels).toBeDefined()
    const outward = policy?.spec.egress.flatMap(({ ports }) => ports.map(({ port }) => port))
    expect(outward).toEqual(
      expect.arrayContaining(['gates', portOf(config.clusters.main.nodes[0].address), 53, 443]),
    )
    const anywhere = policy?.spec.egress.flatMap(({ to }) =>
      to.flatMap((peer) => peer.ipBlock ?? []),
    )
    expect(anywhere?.find(({ cidr }) => cidr === '0.0.0.0/0')?.except).toContain('169.254.0.0/16')
  })

  it('a key that only its owner may read is copied to where it is read', () => {
    const [keys] = deployment?.spec.template.spec.initContainers ?? []
    expect(keys).toMatchObject({ name: 'keys', image: IMAGE })
    expect(keys?.command?.at(-1)).toBe('umask 077 && cp /secret/* /run/postern/')
    expect(config.clusters.main.certificate.ca_key).toBe('/run/postern/ca.key')
    expect(config.peers.ca_key).toBe('/run/postern/gates-ca.key')
  })
})

it('the sidecar is one, which its application waits for', () => {
  const [deployment] = readFolder('sidecar').all('Deployment')
  const [gate] = deployment?.spec.template.spec.initContainers ?? []
  const [application] = deployment?.spec.template.spec.containers ?? []
  expect(gate).toMatchObject({ name: 'gate', restartPolicy: 'Always' })
  expect(gate?.startupProbe?.httpGet.path).toBe('/readyz')
  const [listener] = parse(readFolder('sidecar').gateConfig).listeners
  for (const container of [gate, application])
    expect(container?.volumeMounts).toContainEqual({
      name: 'socket',
      mountPath: listener.directory,
    })
})

describeWith('kubectl', 'kustomize', () => {
  it.each(['base', 'sidecar'])('renders %s, with all that is named', async (name) => {
    const { path, manifests, kustomization, gateConfig } = readFolder(name)
    const { code, stdout, stderr } = await run('kubectl', ['kustomize', path])
    expect([code, stderr]).toEqual([0, ''])
    const rendered = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest)
    const kinds = [...manifests.map(({ kind }) => kind), 'ConfigMap']
    expect(rendered.map(({ kind }) => kind).sort()).toEqual(kinds.sort())
    const map = rendered.find(({ kind }) => kind === 'ConfigMap')
    expect(map).toMatchObject({
      metadata: {
        name: kustomization.configMapGenerator[0]?.name,
        namespace: kustomization.namespace,
      },
      data: { 'postern.yaml': gateConfig },
    })
  })
})
