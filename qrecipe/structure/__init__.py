"""What a captured model is made of: operations, operands, parameters, roles, cross-attention; analysed once."""

from .analyse import analyse
from .chains import Chain, ChainReader
from .mark import mark
from .structure import (
    Address,
    BlockFacts,
    OperationFacts,
    ProductFacts,
    ProgramFacts,
    QueryFacts,
    SiteFacts,
    Structure,
    TapFacts,
)

__all__ = [
    "Address",
    "BlockFacts",
    "Chain",
    "ChainReader",
    "OperationFacts",
    "ProductFacts",
    "ProgramFacts",
    "QueryFacts",
    "SiteFacts",
    "Structure",
    "TapFacts",
    "analyse",
    "mark",
]
