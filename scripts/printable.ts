/** What comes from outside, as it may be printed: a terminal obeys control characters, even to the clipboard. */

/**
 * Replaces what moves, hides or orders something (C0 and C1, marks for the direction of text, separators of lines) by its
 * escape sequence in JSON. The text of a JSON document means the same afterwards.
 */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
    ).join(''),
  );

/** The same for a text that has line breaks of our own. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');
