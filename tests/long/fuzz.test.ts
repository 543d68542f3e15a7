/** The same as in the short set, with ten times as many values. */

import '../fuzz.test.ts';
