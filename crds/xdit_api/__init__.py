"""The contract of xdit.dev: what users write, what the operator and the workers say to each other.

Nothing here talks to a cluster, a disk or a GPU. The CRD, its defaults, the API reference and every parser
come from these models.
"""

GROUP = "xdit.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "XDiTInference"
PLURAL = "xditinferences"
SHORT_NAME = "xdit"
