/** What a dragged result carries: JSON with its `digest` and `name`. */
export const RESULT_TYPE = "application/x-sfumato-result";
