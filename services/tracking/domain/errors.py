"""Why an action of a user is refused."""


class NotFoundError(Exception):
    """The user may not know of the thing, or there is none.

    It is the same error for a record that is missing, deleted or not readable, for an item of another
    user, and for a tracked activity of another record.
    """


class ConflictError(Exception):
    """The action is not possible in the present state.

    Attributes:
        code: a word for programs.
        detail: a sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
