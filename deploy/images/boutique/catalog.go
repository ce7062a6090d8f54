package main

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"boutique/pb"
)

// products keeps upstream's nine ids, because load generators and bookmarks use them.
var products = []*pb.Product{
	item("OLJCESPC7Z", "Sunglasses", "sunglasses", "Dark lenses, light frame: for bright mornings on call.", 19, 99, "accessories"),
	item("66VCHSJNUP", "Tank Top", "tank-top", "Soft cotton in one size, cut loose.", 18, 99, "clothing", "tops"),
	item("1YMWWN1N4O", "Watch", "watch", "A gold-coloured watch that keeps one clock.", 109, 99, "accessories"),
	item("L9ECAV7KIM", "Loafers", "loafers", "Slip them on, walk out, be back before the alert.", 89, 99, "footwear"),
	item("2ZYFJ3GM2N", "Hairdryer", "hairdryer", "Three heats, two speeds, no surprises.", 24, 99, "hair", "beauty"),
	item("0PUK6V6EV0", "Candle Holder", "candle-holder", "Holds one candle for as long as it burns.", 18, 99, "decor", "home"),
	item("LS4PSXUNUM", "Salt & Pepper Shakers", "salt-and-pepper-shakers", "A pair, so that losing one is no outage.", 18, 49, "kitchen"),
	item("9SIQT8TOJO", "Bamboo Glass Jar", "bamboo-glass-jar", "A glass jar with a bamboo lid, 1.7 l.", 5, 49, "kitchen"),
	item("6E92ZMYYFZ", "Mug", "mug", "A plain mug with a mustard inside.", 8, 99, "kitchen"),
}

func item(id, name, slug, description string, dollars int64, cents int32, categories ...string) *pb.Product {
	return &pb.Product{
		Id: id, Name: name, Description: description, Picture: "/static/img/products/" + slug + ".jpg",
		PriceUsd:   &pb.Money{CurrencyCode: "USD", Units: dollars, Nanos: cents * (nanosPerUnit / 100)},
		Categories: categories,
	}
}

type catalog struct {
	pb.UnimplementedProductCatalogServiceServer
}

func openCatalog(env) (server, error) {
	return newGRPC(func(s *grpc.Server) { pb.RegisterProductCatalogServiceServer(s, catalog{}) }, nil), nil
}

func (catalog) ListProducts(context.Context, *pb.Empty) (*pb.ListProductsResponse, error) {
	return &pb.ListProductsResponse{Products: products}, nil
}

func (catalog) GetProduct(_ context.Context, r *pb.GetProductRequest) (*pb.Product, error) {
	for _, product := range products {
		if product.Id == r.GetId() {
			return product, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no product with ID %s", r.GetId())
}

func (catalog) SearchProducts(_ context.Context, r *pb.SearchProductsRequest) (*pb.SearchProductsResponse, error) {
	query := strings.ToLower(r.GetQuery())
	var found []*pb.Product
	for _, product := range products {
		if strings.Contains(strings.ToLower(product.Name+" "+product.Description), query) {
			found = append(found, product)
		}
	}
	return &pb.SearchProductsResponse{Results: found}, nil
}
