/** The words that get a control of their own. Pure. */

export interface Listed {
  /** In small letters, as a model's tokenizer reads it. */
  readonly word: string;
  readonly gone: boolean;
}

/**
 * Return the words of a prompt, once each, then other words and phrases that are named. Gone is what the prompt does not
 * spell; like the engine, this looks at letters alone, so that a phrase may be several words and `t-shirt` three.
 */
export function listed(prompt: readonly string[], named: readonly string[]): Listed[] {
  const all = prompt.map((word) => word.toLowerCase());
  const present = all.filter((word) => /[\p{L}\p{N}]/u.test(word));
  const each = new Set([...present, ...named.map((word) => word.toLowerCase())]);
  return [...each].map((word) => ({ word, gone: !spells(all, word.replace(/\s/g, "")) }));
}

function spells(all: readonly string[], letters: string): boolean {
  return all.some((_, from) => {
    for (let [to, text] = [from, ""]; to < all.length && text.length < letters.length; to += 1) {
      text += all[to];
      if (text === letters) return true;
    }
    return false;
  });
}
