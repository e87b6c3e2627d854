module local

go 1.24.1

require sigs.k8s.io/cri-tools v1.34.0

require k8s.io/api v0.34.4

require k8s.io/apimachinery v0.34.4

require k8s.io/apiserver v0.34.4

require k8s.io/cli-runtime v0.34.4

require k8s.io/client-go v0.34.4

require k8s.io/component-base v0.34.4

require k8s.io/cri-api v0.34.4

require k8s.io/cri-client v0.34.4

require k8s.io/kubectl v0.34.4

require k8s.io/kms v0.34.4
