import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/setup.ts'],
    pool: 'forks',
    // Tests wait more than they work: three at a time, however few processors there are.
    maxWorkers: 3,
    testTimeout: 20_000,
    // What is waited for comes at once, but on a machine that others load.
    expect: { poll: { timeout: 8_000 } },
    hookTimeout: 60_000,
  },
})
