/** The Kubernetes manifests below deploy/, as they are in files, with the types of what tests look at. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { ROOT } from './tools.ts'

type Labels = Record<string, string>

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; labels?: Labels }
}

export interface Container {
  name: string
  image: string
  restartPolicy?: string
  command?: string[]
  args?: string[]
  ports?: { name: string; containerPort: number }[]
  volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[]
  securityContext: {
    allowPrivilegeEscalation: boolean
    readOnlyRootFilesystem: boolean
    capabilities: { drop: string[] }
  }
  resources: { requests: Labels; limits: Labels }
  startupProbe?: Probe
  livenessProbe?: Probe
  readinessProbe?: Probe
  lifecycle?: { preStop: { exec: { command: string[] } } }
}

export interface Probe {
  httpGet: { path: string; port: string }
}

export interface Deployment extends Manifest {
  kind: 'Deployment'
  spec: {
    replicas: number
    selector: { matchLabels: Labels }
    template: {
      metadata: { labels: Labels }
      spec: {
        serviceAccountName: string
        automountServiceAccountToken: boolean
        terminationGracePeriodSeconds: number
        securityContext: {
          runAsNonRoot: boolean
          runAsUser: number
          fsGroup: number
          seccompProfile: { type: string }
        }
        initContainers: Container[]
        containers: Container[]
        volumes: { name: string; configMap?: { name: string } }[]
      }
    }
  }
}

export interface Service extends Manifest {
  kind: 'Service'
  spec: { selector: Labels; ports: { name: string; port: number; targetPort: string }[] }
}

export interface PodSelecting extends Manifest {
  kind: 'PodDisruptionBudget'
  spec: { selector: { matchLabels: Labels } }
}

interface Peer {
  podSelector?: { matchLabels: Labels }
  namespaceSelector?: { matchLabels?: Labels }
  ipBlock?: { cidr: string; except: string[] }
}

interface NetworkPort {
  protocol: 'TCP' | 'UDP'
  port: string | number
}

export interface NetworkPolicy extends Manifest {
  kind: 'NetworkPolicy'
  spec: {
    podSelector: { matchLabels: Labels }
    policyTypes: string[]
    ingress: { from: Peer[]; ports: NetworkPort[] }[]
    egress: { to: Peer[]; ports: NetworkPort[] }[]
  }
}

export interface Kustomization {
  namespace: string
  resources: string[]
  configMapGenerator: { name: string; files: string[] }[]
  generatorOptions: { disableNameSuffixHash: boolean }
}

type Known = Deployment | Service | PodSelecting | NetworkPolicy

export interface Folder {
  path: string
  kustomization: Kustomization
  manifests: Manifest[]
  all<K extends Known['kind']>(kind: K): Extract<Known, { kind: K }>[]
  /** The gate's configuration, from the config map that is made of it. */
  gateConfig: string
}

export function readFolder(name: string): Folder {
  const path = join(ROOT, 'deploy/kubernetes', name)
  const read = (file: string) => readFileSync(join(path, file), 'utf8')
  const kustomization: Kustomization = parse(read('kustomization.yaml'))
  const manifests = kustomization.resources.flatMap((file) =>
    parseAllDocuments(read(file)).map((document) => {
      if (document.errors.length > 0) throw document.errors[0]
      return document.toJS() as Manifest
    }),
  )
  const [generated] = kustomization.configMapGenerator
  return {
    path,
    kustomization,
    manifests,
    all: (kind) => manifests.filter((each) => each.kind === kind) as never[],
    gateConfig: read(generated?.files[0] ?? ''),
  }
}
