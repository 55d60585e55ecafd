"""Version 2: trials keep their learning curve and the number of epochs after which the weights were taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns, which are empty in the rows that are there."""
    op.add_column("trials", sa.Column("epochs", sa.Integer))
    op.add_column("trials", sa.Column("curve", sa.Text))
