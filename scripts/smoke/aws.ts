/**
 * AWS's APIs as the checks call them. Where one or two calls of a service are enough, aws4fetch signs them: the service's own
 * client would add megabytes to the installation.
 */

import { setTimeout } from 'node:timers/promises';
import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { AwsClient } from 'aws4fetch';
import type { Network } from '../network.ts';

/** @see https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html */
const jsonServices = {
  cloudwatch: { host: 'monitoring', target: 'GraniteServiceVersion20100801', version: '1.0', variable: 'CLOUDWATCH' },
  states: { host: 'states', target: 'AWSStepFunctions', version: '1.0', variable: 'SFN' },
  logs: { host: 'logs', target: 'Logs_20140328', version: '1.1', variable: 'CLOUDWATCH_LOGS' },
  events: { host: 'events', target: 'AWSEvents', version: '1.1', variable: 'EVENTBRIDGE' },
  sqs: { host: 'sqs', target: 'AmazonSQS', version: '1.0', variable: 'SQS' },
};
type JsonService = keyof typeof jsonServices;

/** An answer of AWS that is an error, or no answer. */
export class AwsError extends Error {
  /** Such as `states:StartExecution`. */
  readonly action: string;
  /** 0 where there was no answer. */
  readonly status: number;

  constructor(action: string, name: string, message: string, status: number) {
    super(message);
    this.name = name;
    this.action = action;
    this.status = status;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: what each call returns is described by AWS, and read by the check that makes it.
type Answer = any;

/** @throws AwsError where it is no JSON: a proxy or a maintenance page may answer in AWS's place */
function parse(action: string, status: number, text: string): Answer {
  try {
    return JSON.parse(text || '{}') ?? {};
  } catch {
    throw new AwsError(action, 'NoJson', 'the answer is not JSON', status);
  }
}

export function createAws(network: Network, region: string) {
  const { client } = network;
  const config = { ...client, region };
  const suffix = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  const addressOf = (service: string, variable: string) =>
    process.env[`AWS_ENDPOINT_URL_${variable}`] ||
    process.env['AWS_ENDPOINT_URL'] ||
    `https://${service}.${region}.${suffix}`;

  async function send(service: string, action: string, url: string, headers: Record<string, string>, body: string) {
    const aws = new AwsClient({ ...(await client.credentials()), service, region });
    for (let retries = 0; ; retries += 1) {
      const signed = await aws.sign(url, { method: 'POST', headers, body });
      const response = await network.send(signed).catch((cause: NodeJS.ErrnoException) => {
        // A connection may break; what takes too long has had its time.
        if (retries < 2 && cause.name !== 'TimeoutError') return undefined;
        throw Object.assign(new AwsError(action, cause.name, cause.message, 0), { cause });
      });
      const text = (await response?.text()) ?? '';
      const isPassing = !response || response.status >= 500 || /Throttling|LimitExceeded|TooManyRequests/.test(text);
      if (response && (!isPassing || retries === 2)) return { response, text };
      await setTimeout(500 * 2 ** retries);
    }
  }

  /** Calls a service that speaks AWS JSON; a service has the name that it has in policies. @throws AwsError */
  async function call(service: JsonService, operation: string, input: object): Promise<Answer> {
    const { host, target, version, variable } = jsonServices[service];
    const headers = {
      'content-type': `application/x-amz-json-${version}`,
      'x-amz-target': `${target}.${operation}`,
    };
    const action = `${service}:${operation}`;
    const url = addressOf(host, variable);
    const { response, text } = await send(host, action, `${url}/`, headers, JSON.stringify(input));
    const answer = parse(action, response.status, text);
    if (response.ok) return answer;
    const name = String(answer.__type ?? 'an error without a name').replace(/^.*#/, '');
    throw new AwsError(action, name, answer.message ?? answer.Message ?? '', response.status);
  }

  /** Calls a service that speaks AWS's older protocol. @returns the XML of the answer @throws AwsError */
  async function query(service: 'sts' | 'sns', input: Record<string, string>): Promise<string> {
    const action = `${service}:${input['Action']}`;
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const url = addressOf(service, service.toUpperCase());
    const { response, text } = await send(service, action, `${url}/`, headers, new URLSearchParams(input).toString());
    if (response.ok) return text;
    const [name, message = ''] = ['Code', 'Message'].map((tag) => textOf(text, tag));
    throw new AwsError(action, name || 'an error without a name', message, response.status);
  }

  /** @returns the traces with that id @throws AwsError */
  async function traces(id: string): Promise<Answer[]> {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ TraceIds: [id] });
    const { response, text } = await send(
      'xray',
      'xray:BatchGetTraces',
      `${addressOf('xray', 'XRAY')}/Traces`,
      headers,
      body,
    );
    if (!response.ok)
      throw new AwsError('xray:BatchGetTraces', String(response.status), text.slice(0, 200), response.status);
    return parse('xray:BatchGetTraces', response.status, text).Traces ?? [];
  }

  return {
    /** The URL that a queue will have. */
    queueUrl: (accountId: string, name: string) => `${addressOf('sqs', 'SQS')}/${accountId}/${name}`,
    call,
    query,
    traces,
    cloudFormation: new CloudFormationClient(config),
    lambda: new LambdaClient(config),
  };
}

export type Aws = ReturnType<typeof createAws>;

/** @returns what stands in the first element of that name; empty where there is none */
export const textOf = (xml: string, tag: string) => new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(xml)?.[1] ?? '';

/** An SDK's error as an {@link AwsError}. */
export const sdkError =
  (action: string) =>
  (error: Error & { $metadata?: { httpStatusCode?: number } }): never => {
    const status = error.$metadata?.httpStatusCode ?? 0;
    throw Object.assign(new AwsError(action, error.name, error.message, status), { cause: error });
  };
