package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/mail"
	"strconv"
	"time"

	"google.golang.org/grpc/status"

	"boutique/pb"
)

const (
	sessionCookie   = "shop_session-id"
	currencyCookie  = "shop_currency"
	cookieMaxAge    = 48 * 60 * 60 // seconds
	defaultCurrency = "USD"
)

// offered are the currencies that the shop sells in.
var offered = map[string]bool{"USD": true, "EUR": true, "CAD": true, "JPY": true, "GBP": true, "TRY": true}

type frontend struct {
	message        string // shown on top of every page: this is how a release is seen from outside
	ads            pb.AdServiceClient
	cart           pb.CartServiceClient
	catalog        pb.ProductCatalogServiceClient
	checkout       pb.CheckoutServiceClient
	currency       pb.CurrencyServiceClient
	recommendation pb.RecommendationServiceClient
	shipping       pb.ShippingServiceClient
}

func openFrontend(e env) (server, error) {
	conns, err := e.dialAll("AD_SERVICE_ADDR", "CART_SERVICE_ADDR", "PRODUCT_CATALOG_SERVICE_ADDR", "CHECKOUT_SERVICE_ADDR",
		"CURRENCY_SERVICE_ADDR", "RECOMMENDATION_SERVICE_ADDR", "SHIPPING_SERVICE_ADDR")
	if err != nil {
		return nil, err
	}
	return &frontend{
		message:        e.or("FRONTEND_MESSAGE", ""),
		ads:            pb.NewAdServiceClient(conns[0]),
		cart:           pb.NewCartServiceClient(conns[1]),
		catalog:        pb.NewProductCatalogServiceClient(conns[2]),
		checkout:       pb.NewCheckoutServiceClient(conns[3]),
		currency:       pb.NewCurrencyServiceClient(conns[4]),
		recommendation: pb.NewRecommendationServiceClient(conns[5]),
		shipping:       pb.NewShippingServiceClient(conns[6]),
	}, nil
}

func (f *frontend) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: f.routes(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	slog.Info("draining")
	late, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return server.Shutdown(late)
}

func (f *frontend) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]func(*visit) error{
		"GET /{$}":            f.home,
		"GET /product/{id}":   f.product,
		"GET /cart":           f.viewCart,
		"POST /cart":          f.addToCart,
		"POST /cart/empty":    f.emptyCart,
		"POST /cart/checkout": f.placeOrder,
		"POST /setCurrency":   f.setCurrency,
		"GET /logout":         f.logout,
	} {
		mux.Handle(pattern, f.page(handler))
	}
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /robots.txt", text("User-agent: *\nDisallow: /"))
	mux.HandleFunc("GET /_healthz", text("ok"))
	return mux
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

// A visit is one request of one user.
type visit struct {
	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context
	user     string
	currency string
}

func (v *visit) redirect(to string) error {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusFound)
	return nil
}

func (v *visit) setCookie(name, value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{Name: name, Value: value, MaxAge: maxAge, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// badInput is the user's mistake, not the shop's.
type badInput struct{ error }

// page gives each visitor a session, and turns an error into an error page.
func (f *frontend) page(handle func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		v := &visit{w: w, r: r, ctx: r.Context(), currency: defaultCurrency}
		if cookie, err := r.Cookie(sessionCookie); err == nil {
			v.user = cookie.Value
		} else {
			v.user = newID()
			v.setCookie(sessionCookie, v.user, cookieMaxAge)
		}
		if cookie, err := r.Cookie(currencyCookie); err == nil && offered[cookie.Value] {
			v.currency = cookie.Value
		}
		err := handle(v)
		if err == nil {
			return
		}
		code := http.StatusInternalServerError
		if errors.As(err, new(badInput)) {
			code = http.StatusUnprocessableEntity
		}
		slog.Error("request error", "method", r.Method, "path", r.URL.Path, "status", code,
			"code", status.Code(err).String(), "ms", time.Since(start).Milliseconds(), "error", err)
		f.render(v, code, "error", map[string]any{"Code": code, "Status": http.StatusText(code), "Error": err.Error()})
	})
}

func (f *frontend) home(v *visit) error {
	currencies, err := f.currencies(v.ctx)
	if err != nil {
		return err
	}
	list, err := f.catalog.ListProducts(v.ctx, &pb.Empty{})
	if err != nil {
		return fmt.Errorf("could not retrieve products: %w", err)
	}
	items, err := f.items(v)
	if err != nil {
		return err
	}
	views := make([]productView, len(list.GetProducts()))
	for i, product := range list.GetProducts() {
		price, err := f.convert(v, product.GetPriceUsd())
		if err != nil {
			return err
		}
		views[i] = productView{product, price}
	}
	return f.render(v, http.StatusOK, "home", map[string]any{
		"Currencies": currencies, "CartSize": size(items), "Products": views, "Ad": f.ad(v.ctx, nil),
	})
}

func (f *frontend) product(v *visit) error {
	id := v.r.PathValue("id")
	product, err := f.catalog.GetProduct(v.ctx, &pb.GetProductRequest{Id: id})
	if err != nil {
		return fmt.Errorf("could not retrieve product: %w", err)
	}
	currencies, err := f.currencies(v.ctx)
	if err != nil {
		return err
	}
	items, err := f.items(v)
	if err != nil {
		return err
	}
	price, err := f.convert(v, product.GetPriceUsd())
	if err != nil {
		return err
	}
	return f.render(v, http.StatusOK, "product", map[string]any{
		"Currencies": currencies, "CartSize": size(items), "Product": productView{product, price},
		"Recommendations": f.recommend(v, []string{id}), "Ad": f.ad(v.ctx, product.GetCategories()),
	})
}

func (f *frontend) viewCart(v *visit) error {
	currencies, err := f.currencies(v.ctx)
	if err != nil {
		return err
	}
	items, err := f.items(v)
	if err != nil {
		return err
	}
	quote, err := f.shipping.GetQuote(v.ctx, &pb.GetQuoteRequest{Items: items})
	if err != nil {
		return fmt.Errorf("failed to get shipping quote: %w", err)
	}
	shippingCost, err := f.convert(v, quote.GetCostUsd())
	if err != nil {
		return err
	}
	total, ids := shippingCost, make([]string, len(items))
	lines := make([]cartLine, len(items))
	for i, item := range items {
		product, err := f.catalog.GetProduct(v.ctx, &pb.GetProductRequest{Id: item.GetProductId()})
		if err != nil {
			return fmt.Errorf("could not retrieve product #%s: %w", item.GetProductId(), err)
		}
		price, err := f.convert(v, product.GetPriceUsd())
		if err != nil {
			return err
		}
		cost := times(price, item.GetQuantity())
		lines[i], ids[i], total = cartLine{product, item.GetQuantity(), cost}, item.GetProductId(), add(total, cost)
	}
	year := time.Now().Year()
	return f.render(v, http.StatusOK, "cart", map[string]any{
		"Currencies": currencies, "CartSize": size(items), "Lines": lines, "Shipping": shippingCost, "Total": total,
		"Years": []int{year, year + 1, year + 2, year + 3, year + 4}, "Recommendations": f.recommend(v, ids),
	})
}

func (f *frontend) addToCart(v *visit) error {
	quantity, err := strconv.ParseInt(v.r.FormValue("quantity"), 10, 32)
	id := v.r.FormValue("product_id")
	if err != nil || quantity < 1 || quantity > 10 || id == "" {
		return badInput{errors.New("a cart takes a product_id and a quantity from 1 to 10")}
	}
	product, err := f.catalog.GetProduct(v.ctx, &pb.GetProductRequest{Id: id})
	if err != nil {
		return fmt.Errorf("could not retrieve product: %w", err)
	}
	item := &pb.CartItem{ProductId: product.GetId(), Quantity: int32(quantity)}
	if _, err := f.cart.AddItem(v.ctx, &pb.AddItemRequest{UserId: v.user, Item: item}); err != nil {
		return fmt.Errorf("failed to add to cart: %w", err)
	}
	return v.redirect("/cart")
}

func (f *frontend) emptyCart(v *visit) error {
	if _, err := f.cart.EmptyCart(v.ctx, &pb.EmptyCartRequest{UserId: v.user}); err != nil {
		return fmt.Errorf("failed to empty cart: %w", err)
	}
	return v.redirect("/")
}

func (f *frontend) placeOrder(v *visit) error {
	order, err := orderOf(v)
	if err != nil {
		return badInput{err}
	}
	placed, err := f.checkout.PlaceOrder(v.ctx, order)
	if err != nil {
		return fmt.Errorf("failed to complete the order: %w", err)
	}
	paid := placed.GetOrder().GetShippingCost()
	for _, line := range placed.GetOrder().GetItems() {
		paid = add(paid, times(line.GetCost(), line.GetItem().GetQuantity()))
	}
	currencies, err := f.currencies(v.ctx)
	if err != nil {
		return err
	}
	return f.render(v, http.StatusOK, "order", map[string]any{
		"Currencies": currencies, "Order": placed.GetOrder(), "Paid": paid, "Recommendations": f.recommend(v, nil),
	})
}

func orderOf(v *visit) (*pb.PlaceOrderRequest, error) {
	values, numbers := map[string]string{}, map[string]int32{}
	for _, key := range []string{"email", "street_address", "city", "state", "country", "credit_card_number"} {
		if values[key] = v.r.FormValue(key); values[key] == "" || len(values[key]) > 512 {
			return nil, fmt.Errorf("field %s is invalid", key)
		}
	}
	for _, key := range []string{"zip_code", "credit_card_expiration_month", "credit_card_expiration_year", "credit_card_cvv"} {
		number, err := strconv.ParseInt(v.r.FormValue(key), 10, 32)
		if err != nil || number <= 0 {
			return nil, fmt.Errorf("field %s is invalid", key)
		}
		numbers[key] = int32(number)
	}
	if _, err := mail.ParseAddress(values["email"]); err != nil {
		return nil, errors.New("field email is invalid")
	}
	return &pb.PlaceOrderRequest{
		UserId: v.user, UserCurrency: v.currency, Email: values["email"],
		Address: &pb.Address{
			StreetAddress: values["street_address"], City: values["city"], State: values["state"],
			Country: values["country"], ZipCode: numbers["zip_code"],
		},
		CreditCard: &pb.CreditCardInfo{
			CreditCardNumber:          values["credit_card_number"],
			CreditCardCvv:             numbers["credit_card_cvv"],
			CreditCardExpirationMonth: numbers["credit_card_expiration_month"],
			CreditCardExpirationYear:  numbers["credit_card_expiration_year"],
		},
	}, nil
}

func (f *frontend) setCurrency(v *visit) error {
	code := v.r.FormValue("currency_code")
	if !offered[code] {
		return badInput{fmt.Errorf("currency %q is not offered", code)}
	}
	v.setCookie(currencyCookie, code, cookieMaxAge)
	if from := v.r.Referer(); from != "" {
		return v.redirect(from)
	}
	return v.redirect("/")
}

func (f *frontend) logout(v *visit) error {
	v.setCookie(sessionCookie, "", -1)
	v.setCookie(currencyCookie, "", -1)
	return v.redirect("/")
}

func (f *frontend) currencies(ctx context.Context) ([]string, error) {
	reply, err := f.currency.GetSupportedCurrencies(ctx, &pb.Empty{})
	if err != nil {
		return nil, fmt.Errorf("could not retrieve currencies: %w", err)
	}
	var codes []string
	for _, code := range reply.GetCurrencyCodes() {
		if offered[code] {
			codes = append(codes, code)
		}
	}
	return codes, nil
}

func (f *frontend) items(v *visit) ([]*pb.CartItem, error) {
	reply, err := f.cart.GetCart(v.ctx, &pb.GetCartRequest{UserId: v.user})
	if err != nil {
		return nil, fmt.Errorf("could not retrieve cart: %w", err)
	}
	return reply.GetItems(), nil
}

func (f *frontend) convert(v *visit, price *pb.Money) (*pb.Money, error) {
	if v.currency == price.GetCurrencyCode() {
		return price, nil
	}
	reply, err := f.currency.Convert(v.ctx, &pb.CurrencyConversionRequest{From: price, ToCode: v.currency})
	if err != nil {
		return nil, fmt.Errorf("failed to convert currency: %w", err)
	}
	return reply, nil
}

// ad is an advertisement, or nil: no page breaks for the want of one.
func (f *frontend) ad(ctx context.Context, keys []string) *pb.Ad {
	reply, err := minor(ctx, adTimeout, f.ads.GetAds, &pb.AdRequest{ContextKeys: keys})
	if err != nil || len(reply.GetAds()) == 0 {
		slog.Warn("failed to retrieve ads", "error", err)
		return nil
	}
	return reply.Ads[mathrand.IntN(len(reply.Ads))]
}

// recommend lists up to four other products, or none: no page breaks for the want of them.
func (f *frontend) recommend(v *visit, ids []string) []*pb.Product {
	request := &pb.ListRecommendationsRequest{UserId: v.user, ProductIds: ids}
	reply, err := minor(v.ctx, minorTimeout, f.recommendation.ListRecommendations, request)
	if err != nil {
		slog.Warn("failed to get product recommendations", "error", err)
		return nil
	}
	var found []*pb.Product
	for _, id := range reply.GetProductIds()[:min(4, len(reply.GetProductIds()))] {
		product, err := f.catalog.GetProduct(v.ctx, &pb.GetProductRequest{Id: id})
		if err != nil {
			slog.Warn("failed to look a recommendation up", "product", id, "error", err)
			return nil
		}
		found = append(found, product)
	}
	return found
}

func size(items []*pb.CartItem) (total int32) {
	for _, item := range items {
		total += item.GetQuantity()
	}
	return total
}
