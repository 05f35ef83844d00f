"""The vocabulary of filters: the operators, functions and types that a filter may use.

Every function here computes each row's value from that row alone. Its time and the length of its
result grow at most in proportion to its arguments, so that a short filter cannot demand much: that
is why `repeat`, `replace`, `format`, `range`, `levenshtein` and their like are left out. None
reads a file, a setting, the network or the clock beyond today's date.
"""

from __future__ import annotations

COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}
"""SQL's comparisons, by DuckDB's names for them in a parsed text."""

NEGATIONS = frozenset(
    {"COMPARE_NOTEQUAL", "COMPARE_DISTINCT_FROM", "COMPARE_NOT_IN", "OPERATOR_IS_NULL"}
    | {"!~~", "!~~*", "not_like_escape", "not_ilike_escape"}
)
"""Comparisons and functions that are the negation of another, as DuckDB names them."""

ARITHMETIC = frozenset({"+", "-", "*", "/", "//", "%", "**", "^", "&", "|", "<<", ">>", "~"})
"""Operators on numbers and dates, as DuckDB names the functions behind them."""

LIKES = frozenset(
    {"~~", "!~~", "~~*", "!~~*", "like_escape", "not_like_escape", "ilike_escape"}
    | {"not_ilike_escape"}
)
"""LIKE, NOT LIKE, ILIKE and NOT ILIKE, without and with ESCAPE, as DuckDB names them."""

REGULAR_EXPRESSIONS = frozenset({"regexp_matches", "regexp_full_match", "regexp_extract"})
"""Functions with a regular expression; SIMILAR TO and `~` are the first two."""

TEXT_MAKERS = frozenset(
    {"lower", "upper", "lcase", "ucase", "trim", "ltrim", "rtrim", "left", "right"}
    | {"substring", "substr", "strip_accents", "nfc_normalize", "split_part", "concat", "||"}
    | {"regexp_extract", "strftime"}
)
"""Functions whose results are new texts or lists, which take memory."""

FUNCTIONS = frozenset(
    # Texts.
    TEXT_MAKERS
    | {"starts_with", "ends_with", "prefix", "suffix", "^@", "contains", "strpos", "instr"}
    | {"position", "length", "len", "strlen", "char_length", "character_length"}
    # Numbers.
    | {"abs", "round", "floor", "ceil", "ceiling", "trunc", "sign", "sqrt", "cbrt", "exp", "ln"}
    | {"log", "log2", "log10", "pow", "power", "mod", "fmod", "greatest", "least", "isnan"}
    | {"isfinite", "isinf", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "degrees"}
    | {"radians", "pi"}
    # Dates and times.
    | {"year", "month", "day", "hour", "minute", "second", "quarter", "week", "weekofyear"}
    | {"dayofmonth", "dayofweek", "weekday", "isodow", "dayofyear", "isoyear", "yearweek"}
    | {"decade", "century", "epoch", "dayname", "monthname", "last_day", "make_date", "today"}
    | {"date_part", "datepart", "date_trunc", "datetrunc", "date_diff", "datediff", "date_add"}
    | {"age", "to_years", "to_months", "to_weeks", "to_days", "to_hours", "to_minutes"}
    | {"to_seconds", "strptime", "try_strptime"}
    # Lists.
    | {"list_value", "list_contains", "list_has", "array_contains", "array_has", "list_has_any"}
    | {"array_has_any", "list_has_all", "array_has_all", "list_position", "list_indexof"}
    | {"array_position", "array_indexof", "list_extract", "list_element", "array_length"}
    | {"list_min", "list_max", "list_sum", "list_avg"}
    # Nulls and choices.
    | {"coalesce", "ifnull", "nullif", "if"}
)
"""Functions that a filter may call. docs/search.md lists them."""

ALL_FUNCTIONS = ARITHMETIC | LIKES | REGULAR_EXPRESSIONS | FUNCTIONS
"""Operators and functions alike, as both are functions in a parsed text."""

PATTERNS = LIKES | REGULAR_EXPRESSIONS | {"strftime", "strptime", "try_strptime"}
"""Functions with a pattern: all arguments but the first must be written in the filter."""

TYPES = {
    **dict.fromkeys(("VARCHAR", "TEXT", "STRING", "CHAR"), "VARCHAR"),
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "INT", "INT4", "INT2"), "INTEGER"),
    **dict.fromkeys(("BIGINT", "INT8", "LONG"), "BIGINT"),
    **dict.fromkeys(("FLOAT", "FLOAT4", "REAL"), "FLOAT"),
    **dict.fromkeys(("DOUBLE", "FLOAT8"), "DOUBLE"),
    **{name: name for name in ("DECIMAL", "DATE", "TIME", "TIMESTAMP", "INTERVAL")},
    "DATETIME": "TIMESTAMP",
}
"""Types that a filter may name in CAST, TRY_CAST, `::` and before a text, and DuckDB's name."""

CONSTANTS = {"current_date": "today()"}
"""Words that are no column but stand for a value, and how that is computed."""
