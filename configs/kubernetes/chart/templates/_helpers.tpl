{{- define "kvcache.name" -}}
{{- if contains "locust" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-locust" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "kvcache.selector" -}}
app.kubernetes.io/name: locust-kvcache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kvcache.labels" -}}
{{ include "kvcache.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The pod of the master: of a Job, or with web.enabled of a Deployment. */}}
{{- define "kvcache.master" -}}
metadata:
  labels:
    {{- include "kvcache.labels" . | nindent 4 }}
    app.kubernetes.io/component: master
  annotations:
    checksum/config: {{ include (print $.Template.BasePath "/configmaps.yaml") . | sha256sum }}
spec:
  restartPolicy: {{ if .Values.web.enabled }}Always{{ else }}Never{{ end }}
  enableServiceLinks: false  # Kubernetes would set LOCUST_MASTER_PORT, which Locust takes for an option
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.master.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.master.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.master.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: locust
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - locust-kvcache
        - run
        - --master
        {{- if not .Values.web.enabled }}
        - --headless
        - --expect-workers-max-wait=300
        {{- end }}
        - --expect-workers={{ .Values.workers.replicas }}
        - --users={{ .Values.run.users }}
        - --spawn-rate={{ .Values.run.spawnRate }}
        - --rounds={{ .Values.run.rounds }}
        - --deployment=/config/deployment/deployment.yaml
        {{- with .Values.run.name }}
        - {{ printf "--run-name=%s" . | quote }}
        {{- end }}
        {{- with .Values.run.upload }}
        - {{ printf "--upload=%s" . | quote }}
        {{- end }}
        {{- if .Values.web.loginSecret }}
        - --web-login
        {{- end }}
        {{- range .Values.run.extraArgs }}
        - {{ . | quote }}
        {{- end }}
        - --scenarios
        {{- range .Values.run.scenarios }}
        - {{ if hasKey $.Values.scenarioFiles . }}{{ printf "/config/scenarios/%s.yaml" . | quote }}{{ else }}{{ . | quote }}{{ end }}
        {{- end }}
      env:
        {{- include "kvcache.apiKey" . | nindent 8 }}
      {{- if or .Values.envFromSecrets .Values.web.loginSecret }}
      envFrom:
        {{- range .Values.envFromSecrets }}
        - secretRef: {name: {{ . }}}
        {{- end }}
        {{- with .Values.web.loginSecret }}
        - secretRef: {name: {{ . }}}
        {{- end }}
      {{- end }}
      ports:
        - {name: workers, containerPort: 5557}
        {{- if .Values.web.enabled }}
        - {name: web, containerPort: 8089}
        {{- end }}
      readinessProbe:
        tcpSocket: {port: {{ if .Values.web.enabled }}web{{ else }}workers{{ end }}}
      {{- if .Values.web.enabled }}
      livenessProbe:
        tcpSocket: {port: workers}
        periodSeconds: 30
        failureThreshold: 10
      {{- end }}
      resources: {{- toYaml .Values.master.resources | nindent 8 }}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts:
        - {name: results, mountPath: /app/results}
        - {name: deployment, mountPath: /config/deployment, readOnly: true}
        {{- if .Values.scenarioFiles }}
        - {name: scenarios, mountPath: /config/scenarios, readOnly: true}
        {{- end }}
  volumes:
    - name: results
      {{- if .Values.results.enabled }}
      persistentVolumeClaim: {claimName: {{ .Values.results.existingClaim | default (printf "%s-results" (include "kvcache.name" .)) }}}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: deployment
      configMap: {name: {{ include "kvcache.name" . }}-deployment}
    {{- if .Values.scenarioFiles }}
    - name: scenarios
      configMap: {name: {{ include "kvcache.name" . }}-scenarios}
    {{- end }}
{{- end }}

{{- define "kvcache.apiKey" -}}
- name: OPENAI_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.apiKey.secret }}, key: {{ .Values.apiKey.key }}, optional: true}
{{- end }}
