/**
 * The three doors: tells which event source an invocation comes from, takes the question out of its event, and
 * hands the answer back in its shape. API Gateway calls get HTTP answers; direct invocations and Step Functions
 * tasks get a plain value, or a thrown failure whose name becomes the Lambda `errorType`.
 */

import type { MiddlewareObj } from '@middy/core';
import type { APIGatewayProxyResult, Context } from 'aws-lambda';
import type { LiveMigration } from '#contract';
import { Failure, kindOf } from '../core/failure.ts';
import { type Fields, readQuestion } from '../core/question.ts';
import { isObject, type JsonObject } from '../json.ts';
import { answerAgeMs } from '../sharing/usage.ts';
import { type DoorName, invocationOf } from './invocation.ts';
import { toProblem } from './problem.ts';

type Door = { name: DoorName; fields: Fields };

const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : {});

/** A parameter's value; all its values where a REST API got different ones: `queryStringParameters` has only the last. */
function onlyValue(event: JsonObject, name: string): unknown {
  const all: unknown = objectOf(event['multiValueQueryStringParameters'])[name];
  const last = objectOf(event['queryStringParameters'])[name];
  return Array.isArray(all) && new Set(all).size > 1 ? all : last;
}

/** A parameter's value; payload 2.0 joins different ones with commas, which no flag may hold. */
function joinedValue(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  const [first, ...others] = new Set(value.split(','));
  return others.length > 0 ? value : first;
}

/**
 * An event that has an id at its top is a direct invocation, whatever else it carries: a workflow may hand over its
 * whole state. API Gateway never puts one there. Everything else that no API Gateway sent is taken for a direct
 * invocation without ids, and so refused.
 */
function doorOf(source: unknown): Door {
  const event = objectOf(source);
  const { groupId, liveMigrationId, version, httpMethod } = event;
  const direct: Door = { name: 'direct', fields: { groupId, liveMigrationId } };
  if (groupId !== undefined || liveMigrationId !== undefined) return direct;

  const context = objectOf(event['requestContext']);
  const path = objectOf(event['pathParameters']);
  const ids = { groupId: path['groupId'], liveMigrationId: path['liveMigrationId'] };
  if (version === '2.0' && isObject(context['http'])) {
    const paths = [event['rawPath'], context['http']['path']];
    const query = objectOf(event['queryStringParameters']);
    return {
      name: 'http-api',
      fields: { ...ids, paths, pretty: joinedValue(query['pretty']), envelope: joinedValue(query['envelope']) },
    };
  }
  if (typeof httpMethod === 'string' && typeof context['apiId'] === 'string') {
    const paths = [event['path'], context['path']];
    return {
      name: 'rest-api',
      fields: { ...ids, paths, pretty: onlyValue(event, 'pretty'), envelope: onlyValue(event, 'envelope') },
    };
  }
  return direct;
}

function httpAnswer(
  status: number,
  contentType: string,
  body: object,
  pretty = false,
  headers = {},
): APIGatewayProxyResult {
  return {
    statusCode: status,
    headers: { 'content-type': contentType, 'cache-control': 'no-store', ...headers },
    body: pretty ? `${JSON.stringify(body, null, 2)}\n` : JSON.stringify(body),
  };
}

function httpFailure(failure: Failure, requestId: string): APIGatewayProxyResult {
  const seconds = failure.facts.retryAfterSeconds;
  const headers = seconds === undefined ? {} : { 'retry-after': String(seconds) };
  return httpAnswer(
    kindOf(failure.name).status,
    'application/problem+json',
    toProblem(failure, requestId),
    false,
    headers,
  );
}

/**
 * Middy's adapter for the three doors. The handler behind it gets the valid question instead of the event and
 * returns the document; it, and all middlewares behind this one, may throw anything.
 */
export function doors(): MiddlewareObj<unknown, unknown, Error, Context> {
  return {
    before: (request) => {
      const invocation = invocationOf(request.context);
      const { name, fields } = doorOf(request.event);
      invocation.door = name;
      invocation.question = readQuestion(fields);
      request.event = invocation.question;
    },

    after: (request) => {
      const invocation = invocationOf(request.context);
      const answer = request.response as LiveMigration;
      invocation.answer = answer;
      if (invocation.door === 'direct') return;
      const ageMs = answerAgeMs(invocation.usage);
      // RFC 9111, section 5.1.
      const headers = ageMs === undefined ? {} : { age: String(Math.floor(ageMs / 1000)) };
      request.response = httpAnswer(200, 'application/json', answer, invocation.question?.pretty, headers);
    },

    onError: (request) => {
      const { error, context } = request;
      const invocation = invocationOf(context);
      // The message of an unexpected error may contain anything, so the caller does not get it; `cause` keeps it for the log.
      const failure =
        error instanceof Failure
          ? error
          : new Failure(
              'InternalError',
              'An unexpected error happened in this service; see its log.',
              {},
              { cause: error },
            );
      request.error = failure;
      // Something may have failed before the event was looked at.
      invocation.door ??= doorOf(request.event).name;
      if (invocation.door !== 'direct') request.response = httpFailure(failure, context.awsRequestId);
    },
  };
}
