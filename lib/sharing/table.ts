/**
 * The store of shared entries in a DynamoDB table: an item for each key. This file is a bundle of its own, which is loaded
 * only where there is a table.
 */

import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DynamoDBClient,
  GetItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { type HttpsProxy, ProxyAgent } from '../proxy.ts';
import type { Store } from './store.ts';

export const limits = {
  attempts: 2,
  /** The connection included, also through a proxy: a question must not wait for longer than its budget. */
  attemptMs: 1000,
  /** No entry is of use for longer. DynamoDB deletes items days after that; nothing relies on it. */
  keptMs: 86_400_000,
};

/**
 * @param TableName a table whose only key is the text `key`
 * @param proxy for https; undefined: DynamoDB is reached directly
 * @returns a store, whose calls throw the SDK's errors
 */
export function openTable(TableName: string, proxy: HttpsProxy | undefined): Store {
  const client = new DynamoDBClient({
    maxAttempts: limits.attempts,
    requestHandler: {
      requestTimeout: limits.attemptMs,
      throwOnRequestTimeout: true,
      httpsAgent: proxy ? new ProxyAgent({ keepAlive: true }, proxy) : { keepAlive: true },
    },
  });
  const number = (value: number): AttributeValue => ({ N: String(value) });
  const text = (value: string): AttributeValue => ({ S: value });

  /** @returns whether the condition held */
  const update = async (
    key: string,
    UpdateExpression: string,
    ConditionExpression: string,
    ExpressionAttributeValues: Record<string, AttributeValue>,
    abortSignal: AbortSignal,
  ): Promise<boolean> => {
    const input = { TableName, Key: { key: text(key) }, UpdateExpression, ConditionExpression };
    try {
      await client.send(new UpdateItemCommand({ ...input, ExpressionAttributeValues }), { abortSignal });
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
  };
  const isSame = (seen: string | undefined) =>
    seen === undefined ? 'attribute_not_exists(entryId)' : 'entryId = :seen';
  const seenIs = (seen: string | undefined) => (seen === undefined ? {} : { ':seen': text(seen) });
  /** Seconds since the epoch, as DynamoDB wants them. */
  const expiresAt = (now: number) => number(Math.ceil((now + limits.keptMs) / 1000));

  return {
    async read(key, ConsistentRead, abortSignal) {
      const command = new GetItemCommand({ TableName, Key: { key: text(key) }, ConsistentRead });
      const { entry, entryId, leaseOwner, leaseUntil } = (await client.send(command, { abortSignal })).Item ?? {};
      return {
        ...(entryId?.S === undefined ? {} : { entry: { id: entryId.S, text: entry?.S ?? '' } }),
        ...(leaseOwner?.S === undefined ? {} : { lease: { owner: leaseOwner.S, until: Number(leaseUntil?.N) } }),
      };
    },

    lease(key, { owner, now, until, latest, seen }, signal) {
      const isFree = '(attribute_not_exists(leaseUntil) OR leaseUntil <= :now OR leaseUntil > :latest)';
      return update(
        key,
        'SET leaseOwner = :owner, leaseUntil = :until, expiresAt = :expiresAt',
        `${isFree} AND ${isSame(seen)}`,
        {
          ':owner': text(owner),
          ':until': number(until),
          ':expiresAt': expiresAt(now),
          ':now': number(now),
          ':latest': number(latest),
          ...seenIs(seen),
        },
        signal,
      );
    },

    async release(key, { owner, now, text: entry, late }, signal) {
      const mine = { ':owner': text(owner), ':now': number(now) };
      const end = 'REMOVE leaseOwner, leaseUntil';
      const isMine = 'leaseOwner = :owner AND leaseUntil >= :now';
      if (entry === undefined) {
        await update(key, end, isMine, mine, signal);
        return;
      }
      const set = 'SET entry = :entry, entryId = :owner, expiresAt = :expiresAt';
      const made = { ':owner': text(owner), ':entry': text(entry), ':expiresAt': expiresAt(now) };
      if (await update(key, `${set} ${end}`, isMine, { ...mine, ...made }, signal)) return;
      if (late) await update(key, set, isSame(late.id), { ...made, ...seenIs(late.id) }, signal);
    },
  };
}
