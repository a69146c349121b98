"""Text of TorchScript to statements, by a parser of that dialect alone.

The archives have one statement a line, blocks indented by spaces, and of Python's expressions only calls,
attributes, items, literals and choices. What has another form is refused.
"""

from __future__ import annotations

from convsv_cli.loaders.torchscript.tokens import Text, Token, number, tokens, unescaped
from convsv_cli.loaders.torchscript.tree import (
    Assign,
    Attribute,
    Block,
    Call,
    Choice,
    Expression,
    For,
    Function,
    If,
    Item,
    Literal,
    Name,
    Pairs,
    Parameter,
    Return,
    Several,
    Statement,
    UnfollowedError,
    While,
    With,
)

DEEPEST = 60
"""Of brackets in brackets, and of blocks in blocks."""
_WORDS = {"True": True, "False": False, "None": None, "inf": float("inf"), "nan": float("nan")}
_BLOCKS = frozenset(("if", "while", "for", "with"))
_END: Token = ("line", "", 0)


def parsed(source: Text) -> Function:
    """The function.

    Raises:
        UnfollowedError: it is not of the dialect.
        LimitError: it is too long.
    """
    return _Parser(source).function()


class _Parser:
    def __init__(self, source: Text) -> None:
        self._place, self._tokens, self._at, self._depth = source.place, tokens(source), 0, 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _refuse(self) -> UnfollowedError:
        return UnfollowedError(f"{self._where} is of a form that convsv does not follow")

    @property
    def _where(self) -> str:
        line = self._tokens[min(self._at, len(self._tokens) - 1)][2] if self._tokens else 0
        return f"line {line} of {self._place}"

    def _next(self) -> str:
        if self._now is _END:
            raise self._refuse()
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _has(self, *texts: str) -> bool:
        """Whether these come next, as signs or names; they are passed if so."""
        here = self._tokens[self._at : self._at + len(texts)]
        if tuple(text for kind, text, _ in here if kind in {"sign", "name"}) != texts:
            return False
        self._at += len(texts)
        return True

    def _expect(self, text: str) -> None:
        if not self._has(text):
            raise self._refuse()

    def _word(self) -> str:
        if self._now[0] != "name":
            raise self._refuse()
        return self._next()

    def function(self) -> Function:
        """`def name(parameters) -> type: body`."""
        self._lines()
        self._expect("def")
        self._word()
        self._expect("(")
        parameters = []
        while not self._has(")"):
            name = self._word()
            kind = self._expression() if self._has(":") else Name("Tensor")
            default = self._expression() if self._has("=") else None
            parameters.append(Parameter(name, kind, default))
            self._has(",")
        if self._has("->"):
            self._expression()
        return Function(self._place, tuple(parameters), self._block())

    def _lines(self) -> None:
        while self._now[0] == "line" and self._now is not _END:
            self._at += 1

    def _indent(self) -> int:
        """Of the next line that is not empty; -1 at the end."""
        at = self._at
        while at < len(self._tokens) and self._tokens[at][0] == "line":
            at += 1
        return len(self._tokens[at - 1][1]) - 1 if self._at < at < len(self._tokens) else -1

    def _block(self) -> Block:
        """What is indented alike, behind a colon."""
        self._expect(":")
        self._depth += 1
        indent, found = self._indent(), list[Statement]()
        if indent < 1 or self._depth > DEEPEST:
            raise self._refuse()
        while self._indent() == indent:
            self._lines()
            if not self._has("pass"):
                found.append(self._statement())
            if self._now[0] != "line":
                raise self._refuse()
        if self._indent() > indent:
            raise self._refuse()
        self._depth -= 1
        return tuple(found)

    def _statement(self) -> Statement:
        kind, text, line = self._now
        if kind == "name" and text in _BLOCKS:
            return self._with_block(self._next(), line)
        if self._has("return"):
            return Return(line, self._several())
        targets, unpacks = self._targets()
        return Assign(line, targets, self._several(), unpacks)

    def _with_block(self, word: str, line: int) -> Statement:
        if word == "for":
            name = self._word()
            self._expect("in")
            return For(line, name, self._expression(), self._block())
        value = self._expression()
        if word == "with":
            return With(line, value, self._block())
        first = self._block()
        if word == "while":
            return While(line, value, first)
        indent = self._at
        self._lines()
        if self._has("else"):
            return If(line, value, first, self._block())
        self._at = indent
        return If(line, value, first, ())

    def _targets(self) -> tuple[tuple[Expression, ...], bool]:
        """What is assigned to; nothing where the line is an expression alone."""
        start, found, commas = self._at, [self._expression()], 0
        while self._has(","):
            commas += 1
            if self._now[1] != "=":
                found.append(self._expression())
        if self._has(":"):
            self._expression()
        if not self._has("="):
            self._at = start
            return (), False
        if not all(isinstance(each, Name | Attribute) for each in found):
            raise self._refuse()
        return tuple(found), commas > 0

    def _several(self) -> Expression:
        """An expression; several with commas between them are a tuple."""
        found, commas = [self._expression()], 0
        while self._has(","):
            commas += 1
            if self._now[0] != "line":
                found.append(self._expression())
        return Several(tuple(found), is_list=False) if commas else found[0]

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._refuse()
        found = self._postfix(self._primary())
        if self._has("if"):
            condition = self._expression()
            self._expect("else")
            found = Choice(condition, found, self._expression())
        self._depth -= 1
        return found

    def _primary(self) -> Expression:
        kind, text, _ = self._now
        if kind in {"text", "number"} or self._now[1] == "-":
            return Literal(self._literal(kind))
        if kind == "name":
            self._at += 1
            return Literal(_WORDS[text]) if text in _WORDS else Name(text)
        if self._has("["):
            return Several(self._until("]")[0], is_list=True)
        if self._has("("):
            items, commas = self._until(")")
            return items[0] if len(items) == 1 and not commas else Several(items, is_list=False)
        return self._pairs()

    def _literal(self, kind: str) -> float | str:
        if kind == "text":
            return unescaped(self._next(), self._where)
        if not self._has("-"):
            return number(self._next(), self._where)
        if self._has("inf"):
            return -float("inf")
        if self._now[0] != "number":
            raise self._refuse()
        return -number(self._next(), self._where)

    def _pairs(self) -> Pairs:
        self._expect("{")
        pairs = []
        while not self._has("}"):
            key = self._expression()
            self._expect(":")
            pairs.append((key, self._expression()))
            self._has(",")
        return Pairs(tuple(pairs))

    def _until(self, end: str) -> tuple[tuple[Expression, ...], int]:
        """Expressions with commas between them, and how many of these there are."""
        found, commas = [], 0
        while not self._has(end):
            found.append(self._expression())
            comma = self._has(",")
            commas += comma
            if not comma and self._now[1] != end:
                raise self._refuse()
        return tuple(found), commas

    def _postfix(self, found: Expression) -> Expression:
        for _ in range(DEEPEST):
            if self._has("."):
                found = Attribute(found, self._word())
            elif self._has("("):
                found = self._call(found)
            elif self._has("["):
                items, commas = self._until("]")
                index = items[0] if len(items) == 1 and not commas else Several(items, is_list=False)
                found = Item(found, index)
            else:
                return found
        raise self._refuse()

    def _call(self, function: Expression) -> Expression:
        arguments, named = [], []
        while not self._has(")"):
            kind, text, _ = self._now
            following = self._tokens[self._at + 1 : self._at + 2]
            if kind == "name" and following and following[0][1] == "=":
                self._at += 2
                named.append((text, self._expression()))
            else:
                arguments.append(self._expression())
            if not self._has(",") and self._now[1] != ")":
                raise self._refuse()
        if function == Name("getattr"):
            name = arguments[1] if len(arguments) == 2 else None
            if not isinstance(name, Literal) or not isinstance(name.value, str):
                raise self._refuse()
            return Attribute(arguments[0], name.value)
        return Call(function, tuple(arguments), tuple(named))
