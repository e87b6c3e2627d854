"""Who does which prompt, and what is done: files on the output volume that survive everything else.

The ledger is the only truth about what is done. It needs no server and no locks: names are created once, and a name that
exists is never taken back.
"""

from xdit_runtime.ledger.lane import Claim, LaneLedger, open_lane
from xdit_runtime.volume import OutputVolumeError

__all__ = ["Claim", "LaneLedger", "OutputVolumeError", "open_lane"]
