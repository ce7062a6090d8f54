package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"os"

	"boutique/pb"
)

//go:embed web
var files embed.FS

var (
	static    = must(fs.Sub(files, "web"))
	templates = template.Must(template.New("").
			Funcs(template.FuncMap{"money": shown, "tile": tile}).ParseFS(files, "web/*.html"))
	hostname, _ = os.Hostname()
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

type productView struct {
	Item  *pb.Product
	Price *pb.Money
}

type cartLine struct {
	Item     *pb.Product
	Quantity int32
	Cost     *pb.Money
}

// render writes a page as a whole or not at all: an error in a template is an error of the request.
func (f *frontend) render(v *visit, code int, page string, data map[string]any) error {
	data = maps.Clone(data)
	data["Message"], data["Currency"], data["Host"] = f.message, v.currency, hostname
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, page, data); err != nil {
		return fmt.Errorf("could not render the page %s: %w", page, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.WriteHeader(code)
	if v.r.Method != http.MethodHead {
		_, _ = body.WriteTo(v.w) // the user may have gone
	}
	return nil
}

// tile stands for a product's picture.
func tile(id string) string {
	tiles := map[string]string{
		"OLJCESPC7Z": "🕶️", "66VCHSJNUP": "🎽", "1YMWWN1N4O": "⌚", "L9ECAV7KIM": "👞", "2ZYFJ3GM2N": "💨",
		"0PUK6V6EV0": "🕯️", "LS4PSXUNUM": "🧂", "9SIQT8TOJO": "🫙", "6E92ZMYYFZ": "☕",
	}
	return tiles[id]
}
