/** Times how long a function takes to be ready under AWS's own runtime client. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { serve } from '../local/serve.ts';

const client = createRequire(import.meta.url).resolve('aws-lambda-ric');

/**
 * @param taskRoot the folder with the function's file
 * @param handler as serverless.yml names it
 * @returns milliseconds from the start of the process to its request for the first event
 * @throws when the process ends before it asks for one
 */
export async function timeRuntimeStart(taskRoot: string, handler: string, environment: Record<string, string>) {
  const ready = Promise.withResolvers<void>();
  const api = await serve((request) => {
    if (request.url?.endsWith('/invocation/next')) ready.resolve();
  });
  const start = performance.now();
  const child = spawn(process.execPath, [client, handler], {
    cwd: taskRoot,
    env: {
      PATH: process.env['PATH'],
      AWS_LAMBDA_RUNTIME_API: new URL(api.origin).host,
      LAMBDA_TASK_ROOT: taskRoot,
      _HANDLER: handler,
      AWS_LAMBDA_FUNCTION_NAME: 'getLiveMigration',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
      ...environment,
    },
    stdio: 'ignore',
  });
  const exited = once(child, 'exit');
  const gone = exited.then(() => {
    throw new Error(`The runtime client ended before ${handler} was ready.`);
  });
  try {
    await Promise.race([ready.promise, gone]);
    return performance.now() - start;
  } finally {
    gone.catch(() => undefined);
    child.kill('SIGKILL');
    await exited;
    await api.close();
  }
}
