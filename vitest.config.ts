import { defineConfig } from 'vitest/config';

export default defineConfig({
  // As in tsconfig.json: the examples of the documentation import the package of the contract.
  resolve: { tsconfigPaths: true },
  test: {
    include: ['tests/**/*.test.ts'],
    restoreMocks: true,
    unstubEnvs: true,
    // Those of the machine: all servers of the tests are on it.
    env: Object.fromEntries(
      ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [
        [name, ''],
        [name.toUpperCase(), ''],
      ]),
    ),
    // Nothing is timed here: a slow machine may take as long as it needs.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    coverage: {
      // What the tests run in their own process; the programs in scripts/ are processes of their own.
      include: ['functions/**', 'lib/**'],
      reportsDirectory: '.build/coverage',
      reporter: ['text-summary', 'text', 'html'],
    },
    // By default one core is left idle, of which a small machine has but two.
    maxWorkers: '100%',
  },
});
