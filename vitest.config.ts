import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    restoreMocks: true,
    unstubEnvs: true,
    // By default one core is left idle, of which a small machine has but two.
    maxWorkers: '100%',
  },
});
