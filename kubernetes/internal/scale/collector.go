package scale

import "github.com/prometheus/client_golang/prometheus"

// Metrics of each replica are those of its own sessions: Prometheus adds them up. Labels
// of pods are as many as backends have in the balancer's own metrics.
var (
	serviceLabels = []string{"namespace", "service"}

	sessionsDesc = prometheus.NewDesc("holdfast_service_sessions",
		"Open sessions of a Service in this replica.", serviceLabels, nil)
	openedDesc = prometheus.NewDesc("holdfast_service_sessions_total",
		"Sessions that clients of a Service have opened in this replica.", serviceLabels, nil)
	messagesDesc = prometheus.NewDesc("holdfast_service_messages_total",
		"Messages of the sessions of a Service in this replica, from both sides.", serviceLabels, nil)
	queueDesc = prometheus.NewDesc("holdfast_service_handshake_queue",
		"Handshakes in this replica that wait for a pod of a Service.", serviceLabels, nil)
	podDesc = prometheus.NewDesc("holdfast_pod_sessions",
		"Open sessions of a pod in this replica.", []string{"namespace", "pod"}, nil)
)

// Describe implements prometheus.Collector.
func (l *Local) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sessionsDesc, openedDesc, messagesDesc, queueDesc, podDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *Local) Collect(ch chan<- prometheus.Metric) {
	report, _ := l.Report()
	loads := newLoads()
	loads.add(&report)
	for i := range report.Services {
		s := &report.Services[i]
		emit := func(d *prometheus.Desc, t prometheus.ValueType, v float64) {
			ch <- prometheus.MustNewConstMetric(d, t, v, s.Namespace, s.Name)
		}
		emit(sessionsDesc, prometheus.GaugeValue, float64(s.Sessions))
		emit(openedDesc, prometheus.CounterValue, float64(s.opened))
		emit(messagesDesc, prometheus.CounterValue, float64(s.messages))
		emit(queueDesc, prometheus.GaugeValue, float64(s.Queue))
	}
	for pod, n := range loads.Pods {
		ch <- prometheus.MustNewConstMetric(podDesc, prometheus.GaugeValue, float64(n), pod.Namespace, pod.Name)
	}
}
