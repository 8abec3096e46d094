import 'vitest'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The PostgreSQL of this run, made by setup.ts. */
    postgres: { socketDir: string; host: string; port: number; caPem: string }
  }
}
