"""Logging: structlog to standard error, pretty on a terminal, one JSON object a line otherwise."""

import logging
import sys
import warnings

import structlog


class Thinned(logging.Filter):
    """Passes what one place in the code says once in a while: that a broker is away is said 100 times a second."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is let through."""
        place = (record.pathname, record.lineno)
        if record.created - self._said.get(place, 0.0) < self._seconds:
            return False
        self._said[place] = record.created
        return True


def setup(form: str = "auto", level: str = "info", **context: object) -> None:
    """Configures logging for this process; `context` is bound to every line."""
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if pretty
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=shared + render,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
    # aiokafka and grpc speak through the standard library; their warnings belong to the same stream.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    handler.addFilter(Thinned())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # Pillow's remarks about damaged files name its own source files and no photograph. An entry says what is wrong.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """A logger; the process's context is merged into each line."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
