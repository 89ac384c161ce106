/** What a person can mend: its message is one line that says what to do. Any other error is a bug of ours. */
export class Problem extends Error {}
