"""What a model's folder says that cannot work, or should be known, found before anything runs.

Files are read, no library is loaded and no weight. The dry run and the search call the same
function, when the configuration is read.
"""

from paretune.models.checks.finding import Finding
from paretune.models.checks.folder import check_folder
from paretune.models.checks.weights import check_pointers

__all__ = ["Finding", "check_folder", "check_pointers"]
