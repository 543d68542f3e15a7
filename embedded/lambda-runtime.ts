/**
 * AWS's own runtime client (aws-lambda-ric) with a function in it, and the Runtime API that Lambda would give it.
 * The client has a native part, and is no dependency: `npm run build:ric` fetches and compiles it.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { readBody, serve } from './http-server.ts';
import { functionName } from './lambda-invoke.ts';

const folder = join(import.meta.dirname, '../.build/ric');

export const runtimeIsBuilt = existsSync(join(folder, 'node_modules/aws-lambda-ric/rapid-client.node'));

/** What Lambda would hand to the caller: the function's value, or what it threw. */
export type Invoked = { value: unknown } | { error: { errorType: string; errorMessage: string; trace: string[] } };

/**
 * @param taskRoot the folder with the unpacked zip
 * @param handler as serverless.yml names it
 * @param environment the function's variables: nothing else of this process's environment but PATH gets in
 */
export async function startRuntime(taskRoot: string, handler: string, environment: Record<string, string>) {
  const idle: ServerResponse[] = [];
  const queued: { id: string; event: unknown }[] = [];
  const waiting = new Map<string, (invoked: Invoked) => void>();
  let initError: unknown;
  const ready = Promise.withResolvers<void>();

  const hand = () => {
    while (idle.length > 0 && queued.length > 0) {
      const { id, event } = queued.shift() ?? { id: '', event: null };
      idle
        .shift()
        ?.writeHead(200, {
          'content-type': 'application/json',
          'lambda-runtime-aws-request-id': id,
          'lambda-runtime-deadline-ms': String(Date.now() + 20_000),
          'lambda-runtime-invoked-function-arn': 'arn:aws:lambda:us-east-1:000000000000:function:getLiveMigration',
        })
        .end(JSON.stringify(event));
    }
  };

  const api = await serve(async (request, response) => {
    const [, , , action = '', id = '', outcome] = request.url?.split('/') ?? [];
    if (action === 'invocation' && id === 'next') {
      ready.resolve();
      idle.push(response);
      hand();
      return;
    }
    const body = JSON.parse((await readBody(request, response)) ?? 'null');
    response.writeHead(202).end('{}');
    if (action === 'init') initError = body;
    else waiting.get(outcome ? id : '')?.(outcome === 'error' ? { error: body } : { value: body });
  });

  const client = createRequire(join(folder, 'package.json')).resolve('aws-lambda-ric');
  let output = '';
  const child: ChildProcess = spawn(process.execPath, [client, handler], {
    cwd: taskRoot,
    env: {
      PATH: process.env['PATH'],
      AWS_LAMBDA_RUNTIME_API: new URL(api.origin).host,
      LAMBDA_TASK_ROOT: taskRoot,
      _HANDLER: handler,
      AWS_LAMBDA_FUNCTION_NAME: functionName,
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
      AWS_LAMBDA_LOG_GROUP_NAME: '/aws/lambda/getLiveMigration',
      AWS_LAMBDA_LOG_STREAM_NAME: 'test',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += chunk));
  const exited = once(child, 'exit');
  const gone = exited.then(() => {
    throw new Error(`the runtime ended: ${JSON.stringify(initError)} ${output}`);
  });
  // A caller that does not wait for the exit ends the process on purpose.
  gone.catch(() => undefined);

  return {
    /** Resolves when the function is loaded and asks for its first event; rejects where the process ends before. */
    ready: () => Promise.race([ready.promise, gone]),
    /** Everything that the process has written. */
    output: () => output,
    /** @throws when the process ends before it answers */
    invoke(event: unknown): Promise<Invoked> {
      const id = crypto.randomUUID();
      const answered = new Promise<Invoked>((resolve) => waiting.set(id, resolve));
      queued.push({ id, event });
      hand();
      return Promise.race([answered, gone]);
    },
    async end() {
      child.kill('SIGKILL');
      await exited;
      await api.close();
    },
  };
}
