"""Finding plugins, explaining the bad ones, calling their hooks. No torch; no plugin code until a hook is needed.

host = Host.discover()          reads manifests only
host.plugins                    everything that is installed, each with a state and a reason
host.experts()                  what can be used
host.hooks                      imports plugin packages, for those who need their code
"""

from cogen.host.host import Host
from cogen.host.plugin import Diagnostic, Expert, Plugin, ProgressEvent, State

__all__ = ["Diagnostic", "Expert", "Host", "Plugin", "ProgressEvent", "State"]
