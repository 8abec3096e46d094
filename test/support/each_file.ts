/** What a file of tests has begun ends with it, also where files share a process. */
import { afterAll } from 'vitest'
import { endAll } from './tools.ts'

afterAll(endAll)
