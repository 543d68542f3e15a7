import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // As in tsconfig.json: the examples of the documentation import the package of the contract.
  resolve: { tsconfigPaths: true },
  test: {
    projects: [
      // npm test: something of everything, within a minute.
      { extends: true, test: { name: 'short', include: ['tests/*.test.ts'] } },
      // npm run test:all runs these too: weeks in virtual time, deployments, and what starts many programs.
      { extends: true, test: { name: 'long', include: ['tests/long/*.test.ts'] } },
    ],
    restoreMocks: true,
    unstubEnvs: true,
    env: {
      // Those of the machine: all servers of the tests are on it.
      ...Object.fromEntries(
        ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [
          [name, ''],
          [name.toUpperCase(), ''],
        ]),
      ),
      // Programs that the tests start load what an earlier one has compiled.
      NODE_COMPILE_CACHE: fileURLToPath(new URL('.build/compile-cache', import.meta.url)),
    },
    // Nothing is timed here. These only end a test that hangs, also on a machine that is ten times slower.
    testTimeout: 300_000,
    hookTimeout: 300_000,
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
