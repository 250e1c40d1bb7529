{{- define "regauth.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "regauth.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "regauth.labels" -}}
{{ include "regauth.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "regauth.config" -}}
{{- $host := .Values.bindAddress -}}
{{- if contains ":" $host }}{{ $host = printf "[%s]" $host }}{{ end -}}
{{- $listen := dict "address" (printf "%s:9443" $host) "cert" "/run/regauth/tls/tls.crt" "key" "/run/regauth/tls/tls.key" -}}
{{- if .Values.proxyProtocol }}{{ $listen = set $listen "proxy-protocol" .Values.proxyProtocol }}{{ end -}}
{{- $keys := dict "clients" "gateway" "store" "memory" "listen-tls" $listen "metrics-listen" (printf "%s:9102" $host) -}}
{{- $keys = merge $keys (dict "authorities" "/run/regauth/authorities" "listen" "127.0.0.1:9001") -}}
{{- $keys = merge $keys (dict "drain-delay" (printf "%ds" (int .Values.drain.delay)) "drain-timeout" (printf "%ds" (int .Values.drain.timeout))) -}}
{{- if .Values.signedGrants.secretName }}
{{- $keys = set $keys "signed-grants" (dict "key" "/run/regauth/grants/key.pem" "revoked" "/run/regauth/grants/revoked") -}}
{{- end -}}
{{- if .Values.registries }}{{ $keys = set $keys "registries" .Values.registries }}{{ end -}}
{{- if .Values.trust }}{{ $keys = set $keys "trust" .Values.trust }}{{ end -}}
{{- /* The home is a tmpfs of 64Mi. `settings` may have another size. */ -}}
{{- merge $keys .Values.settings (dict "audit-max-size" "16MiB") | toToml -}}
{{- end }}
