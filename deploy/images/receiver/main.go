// Command receiver stands in for the on-call channel: it takes Alertmanager's webhook notifications, stamps each
// with its arrival time, keeps them in a file, and lets the harness read them by long-polling.
//
//	POST /alertmanager                        a webhook notification (version 4)
//	GET  /notifications?after=SEQ&wait=SEC    what arrived since; waits up to SEC seconds (at most 30) for more
//	GET  /time                                this server's clock
//	GET  /healthz                             "ok"
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	maxBody   = 4 << 20
	maxKept   = 50_000
	maxWait   = 30 * time.Second
	shutdownT = 2 * time.Second
)

// Alert is one alert of one notification, as it arrived.
type Alert struct {
	Seq         int64             `json:"seq"`
	ArrivedNS   int64             `json:"arrived_ns"`
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    string            `json:"starts_at"`
	EndsAt      string            `json:"ends_at,omitempty"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Group       string            `json:"group,omitempty"`
}

type webhook struct {
	GroupKey string `json:"groupKey"`
	Alerts   []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    string            `json:"startsAt"`
		EndsAt      string            `json:"endsAt"`
		Fingerprint string            `json:"fingerprint"`
	} `json:"alerts"`
}

// Store holds the alerts in order of arrival; more is closed and replaced whenever some arrive.
type Store struct {
	mu     sync.Mutex
	alerts []Alert
	last   int64
	more   chan struct{}
	file   *os.File
}

// Open reads what an earlier process kept, so that sequence numbers go on after a restart.
func Open(path string) (*Store, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	store := &Store{more: make(chan struct{}), file: file}
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 64<<10), maxBody)
	for lines.Scan() {
		var alert Alert
		if json.Unmarshal(lines.Bytes(), &alert) != nil {
			continue // a line cut off by a kill
		}
		store.alerts, store.last = append(store.alerts, alert), alert.Seq
	}
	if lines.Err() != nil {
		return nil, lines.Err()
	}
	_, err = file.WriteString("\n") // ends a line that was cut off; empty lines are skipped above
	store.trim()
	return store, err
}

func (s *Store) trim() {
	if len(s.alerts) > maxKept {
		s.alerts = append([]Alert(nil), s.alerts[len(s.alerts)-maxKept/2:]...)
	}
}

// Add keeps the alerts of one notification. What is not on disk was not received: Alertmanager tries again.
func (s *Store) Add(note webhook, arrived time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []Alert
	var lines []byte
	for _, a := range note.Alerts {
		alert := Alert{
			Seq: s.last + int64(len(fresh)) + 1, ArrivedNS: arrived.UnixNano(), Status: a.Status, Labels: a.Labels,
			Annotations: a.Annotations, StartsAt: a.StartsAt, EndsAt: a.EndsAt, Fingerprint: a.Fingerprint, Group: note.GroupKey,
		}
		line, err := json.Marshal(alert)
		if err != nil {
			return err
		}
		fresh, lines = append(fresh, alert), append(append(lines, line...), '\n')
	}
	if _, err := s.file.Write(lines); err != nil {
		return err
	}
	s.alerts, s.last = append(s.alerts, fresh...), s.last+int64(len(fresh))
	s.trim()
	close(s.more)
	s.more = make(chan struct{})
	return nil
}

// After returns the alerts with a higher sequence number, the last number, and a channel that closes on more.
func (s *Store) After(seq int64) ([]Alert, int64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := len(s.alerts)
	for start > 0 && s.alerts[start-1].Seq > seq {
		start--
	}
	return append([]Alert{}, s.alerts[start:]...), s.last, s.more
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Printf("reply: %v", err)
	}
}

func handler(store *Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /alertmanager", func(w http.ResponseWriter, r *http.Request) {
		arrived := time.Now()
		var note webhook
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&note); err != nil {
			http.Error(w, fmt.Sprintf("not a webhook notification: %v", err), http.StatusBadRequest)
			return
		}
		if err := store.Add(note, arrived); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for _, a := range note.Alerts {
			log.Printf("%s %s namespace=%s", a.Status, a.Labels["alertname"], a.Labels["namespace"])
		}
	})
	mux.HandleFunc("GET /notifications", func(w http.ResponseWriter, r *http.Request) {
		after, err1 := number(r, "after")
		wait, err2 := number(r, "wait")
		if err := errors.Join(err1, err2); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		alerts, last, more := store.After(after)
		// A reader from before our file was lost would wait for ever for numbers that are still to come.
		if len(alerts) == 0 && after <= last && wait > 0 {
			timer := time.NewTimer(min(time.Duration(wait)*time.Second, maxWait))
			defer timer.Stop()
			select {
			case <-more:
				alerts, last, _ = store.After(after)
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		reply(w, map[string]any{"last": last, "now_ns": time.Now().UnixNano(), "alerts": alerts})
	})
	mux.HandleFunc("GET /time", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]int64{"now_ns": time.Now().UnixNano()})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

func number(r *http.Request, key string) (int64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return 0, nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 {
		return 0, fmt.Errorf("%s must be a whole number, not %q", key, text)
	}
	return value, nil
}

func main() {
	listen := flag.String("listen", ":8080", "address to listen on")
	path := flag.String("file", "/data/notifications.jsonl", "file that keeps the notifications")
	flag.Parse()
	store, err := Open(*path)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: *listen, Handler: handler(store), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), shutdownT)
		defer cancel()
		_ = server.Shutdown(late)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
