"""For the fork server of livekit-agents' worker: importing it loads what Greenroom's zygote loads, for all forks."""

from agent import voices

voices.preload()
