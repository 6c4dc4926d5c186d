"""Round trips of a session, counted from what passed the link.

The link notes each segment when it comes from its sender. Between two ends `d` apart a segment that
answers another one is noted `d` later at the earliest: so each pause of about `d` or more is half a
round trip, waited for on the connection whose segment ends it, and what it is longer than `d` is
the wait of the end that sent it.
"""

import collections

import link

CONTROL, DATA = "control", "data"

# Of the delay: what a segment may be early, for the link delivers when it is awake.
TOLERANCE = 0.1

Counted = collections.namedtuple("Counted", "control data server_ms client_ms")


def count(lines, control_port, delay_s, files):
    """Of one file, where `lines` (of link.Trace) are of a session that moved so many."""
    halves, waits, last = collections.Counter(), collections.Counter(), None
    for line in lines:
        time, sender, port, _flags, _octets = line.split()
        time, kind = float(time), CONTROL if int(port) == control_port else DATA
        pause = 0.0 if last is None else time - last
        # An acknowledgement alone is not noted: a sender that waits for one has both ways in one
        # pause. (GnuTLS sends its Finished only when its ChangeCipherSpec is acknowledged.)
        if under_way := int(pause / delay_s + TOLERANCE):
            halves[kind] += under_way
            waits[sender] += max(0.0, pause - under_way * delay_s)
        last = time
    return Counted(
        halves[CONTROL] / 2 / files,
        halves[DATA] / 2 / files,
        waits[link.SERVER] * 1000 / files,
        waits[link.CLIENT] * 1000 / files,
    )
