{{- define "holdfast.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The configuration file, with what the values of the chart add to it. */}}
{{- define "holdfast.config" -}}
{{- range $key := list "listeners" "routes" "pools" "admin" -}}
{{- if hasKey $.Values.config $key -}}
{{- fail (printf "config.%s is not for the chart: listeners, routes and pools come from the objects of the cluster, and the admin interface stays on the pod" $key) -}}
{{- end -}}
{{- end -}}
{{- toYaml .Values.config -}}
{{- end -}}

{{/* A duration of the configuration in whole seconds: "1m30s" is 90. */}}
{{- define "holdfast.seconds" -}}
{{- $all := 0 -}}
{{- range $part := regexFindAll "[0-9]+(ms|h|m|s)" (toString .) -1 -}}
{{- $n := regexFind "[0-9]+" $part | atoi -}}
{{- $unit := regexFind "[a-z]+" $part -}}
{{- if eq $unit "h" }}{{ $all = add $all (mul $n 3600) }}{{ else if eq $unit "m" }}{{ $all = add $all (mul $n 60) }}{{ else if eq $unit "s" }}{{ $all = add $all $n }}{{ end -}}
{{- end -}}
{{- $all -}}
{{- end -}}

{{/* SIGKILL must come after everything that a shutdown may take. */}}
{{- define "holdfast.checkGrace" -}}
{{- $delay := include "holdfast.seconds" (default "5s" (default dict .Values.config.shutdown).delay) | atoi -}}
{{- $shutdown := include "holdfast.seconds" (default "30s" (default dict .Values.config.timeouts).shutdown) | atoi -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int (add $delay $shutdown)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: it must be more than config.shutdown.delay and config.timeouts.shutdown together, %d s" (int .Values.terminationGracePeriodSeconds) (int (add $delay $shutdown))) -}}
{{- end -}}
{{- end -}}

{{/* The rights to read objects, for a ClusterRole or a Role. Lists are for API servers that
can't send them as a watch. Of Secrets and ConfigMaps only names are listed; those that
something refers to are read. */}}
{{- define "holdfast.rules" -}}
- apiGroups: [""]
  resources: [services, pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [holdfast.dev]
  resources: [holdfastpolicies]
  verbs: [list, watch]
- apiGroups: [holdfast.dev]
  resources: [holdfastpolicies/status]
  verbs: [patch]
{{- if .Values.gatewayAPI.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, listenersets, httproutes, tlsroutes, tcproutes, backendtlspolicies, referencegrants]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways/status, listenersets/status, httproutes/status, tlsroutes/status, tcproutes/status, backendtlspolicies/status]
  verbs: [patch]
{{- end }}
{{- if .Values.deletionCost }}
# For the annotation controller.kubernetes.io/pod-deletion-cost.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What only exists for the whole cluster. */}}
{{- define "holdfast.clusterRules" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
{{- if .Values.gatewayAPI.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch]
{{- end }}
{{- end -}}
