/** The least that a function with Middy has to load: Middy. */

import middy from '@middy/core';

export const handler = middy().handler(async () => undefined);
