// Command grafana runs Grafana's backend. It has no web pages: the module that it is built from carries none.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/grafana/grafana/pkg/api"
	"github.com/grafana/grafana/pkg/infra/metrics"
	"github.com/grafana/grafana/pkg/server"
	_ "github.com/grafana/grafana/pkg/services/alerting/conditions"
	_ "github.com/grafana/grafana/pkg/services/alerting/notifiers"
	"github.com/grafana/grafana/pkg/setting"
)

const version = "10.0.0-preview"

func main() {
	home := flag.String("homepath", "/usr/share/grafana", "where conf/ and public/ are")
	config := flag.String("config", "", "configuration file")
	flag.Parse()
	if err := serve(*home, *config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(home, config string) error {
	setting.BuildVersion, setting.BuildBranch, setting.IsEnterprise = version, "main", false
	setting.BuildStamp = time.Now().Unix()
	metrics.SetBuildInformation(version, "unknown", "main", setting.BuildStamp)
	srv, err := Initialize(
		setting.CommandLineArgs{Config: config, HomePath: home, Args: flag.Args()},
		server.Options{HomePath: home, Version: version, Commit: "unknown", BuildBranch: "main"},
		api.ServerOptions{},
	)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx, "told to stop")
	}()
	return srv.Run()
}
