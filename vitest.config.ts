import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    restoreMocks: true,
    unstubEnvs: true,
    // Nothing is timed here: a slow machine may take as long as it needs.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // By default one core is left idle, of which a small machine has but two.
    maxWorkers: '100%',
  },
});
