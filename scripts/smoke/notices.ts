/** The check of the topic: who is told, and, where that is wanted, a message. */

import { textOf } from './aws.ts';
import type { Check } from './context.ts';
import { topicOf } from './metrics.ts';
import { Trouble } from './question.ts';

const Version = '2010-03-31';

export const topic: Check = {
  name: 'topic',
  seconds: 30,
  actions: ['cloudwatch:DescribeAlarms', 'sns:GetTopicAttributes', 'sns:Publish'],
  async run(context) {
    const { aws, notify, service } = context;
    const TopicArn = await topicOf(context);
    if (!TopicArn) return { skipped: 'there is no alarmTopicArn: alarms and reminders tell nobody' };
    if (TopicArn.split(':')[4] !== context.deployment.accountId)
      return { skipped: `the topic is in another account (${TopicArn})` };
    const attributes = await aws.query('sns', { Action: 'GetTopicAttributes', TopicArn, Version });
    const count = (name: string) =>
      Number(new RegExp(`<key>${name}</key>\\s*<value>(\\d+)</value>`).exec(attributes)?.[1] ?? 0);
    const [confirmed, pending] = [count('SubscriptionsConfirmed'), count('SubscriptionsPending')];
    if (confirmed === 0)
      throw new Trouble(
        `Nobody gets the messages of ${TopicArn}: ${pending > 0 ? `subscriptions that wait for a confirmation: ${pending}` : 'it has no subscription'}.`,
        pending > 0 ? 'Confirm them in the mails that SNS sent.' : 'Subscribe people to it.',
      );
    const told = `${confirmed} subscribed`;
    if (!notify)
      return { ok: `${told}; the first deployment sent one OK message for each alarm, and --notify sends one more` };
    const Message = `A test message of npm run smoke for ${service}. Alarms and reminders come to this topic.`;
    const answer = await aws.query('sns', {
      Action: 'Publish',
      TopicArn,
      Subject: `Test of ${service}`.slice(0, 99),
      Message,
      Version,
    });
    return { ok: `${told}; a test message was sent (${textOf(answer, 'MessageId')})` };
  },
};
