"""All families."""

from tests.parity.families import newer, table

TABLE = table.TABLE | newer.NEWER
