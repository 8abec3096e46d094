import { defineConfig } from 'vitest/config'

/** Tests of functions: they leave nothing in a process that others would find, no socket and no timer. */
const FUNCTIONS = ['answers', 'config', 'console', 'identity', 'policy', 'wire'].map(
  (room) => `test/${room}/*.test.ts`,
)

export default defineConfig({
  test: {
    globalSetup: ['test/support/setup.ts'],
    setupFiles: ['test/support/each_file.ts'],
    pool: 'forks',
    // Tests wait more than they work: four at a time, however few processors there are.
    maxWorkers: 4,
    testTimeout: 20_000,
    // What is waited for comes at once, but on a machine that others load.
    expect: { poll: { timeout: 8_000 } },
    hookTimeout: 60_000,
    projects: [
      // A process for many files: half of what they take is its start.
      { test: { name: 'functions', include: FUNCTIONS, isolate: false } },
      { test: { name: 'all else', include: ['test/**/*.test.ts'], exclude: FUNCTIONS } },
    ],
  },
})
