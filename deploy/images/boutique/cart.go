package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"boutique/pb"
)

const cartLife = 48 * time.Hour // as long as the session cookie

// cart keeps each user's cart as one redis hash: product id -> quantity.
type cart struct {
	pb.UnimplementedCartServiceServer
	store *redis.Client
}

func openCart(e env) (server, error) {
	address := e.or("REDIS_ADDR", "")
	if address == "" {
		return nil, errors.New("environment variable REDIS_ADDR is not set")
	}
	c := &cart{store: redis.NewClient(&redis.Options{
		Addr: address, DialTimeout: 750 * time.Millisecond, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DisableIdentity: true, ContextTimeoutEnabled: true,
	})}
	// As upstream: without its store the cart is not healthy.
	ping := func(ctx context.Context) error { return c.store.Ping(ctx).Err() }
	return newGRPC(func(s *grpc.Server) { pb.RegisterCartServiceServer(s, c) }, ping), nil
}

func (c *cart) AddItem(ctx context.Context, r *pb.AddItemRequest) (*pb.Empty, error) {
	key := cartKey(r.GetUserId())
	_, err := c.store.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HIncrBy(ctx, key, r.GetItem().GetProductId(), int64(r.GetItem().GetQuantity()))
		p.Expire(ctx, key, cartLife)
		return nil
	})
	return &pb.Empty{}, storeError(err)
}

func (c *cart) GetCart(ctx context.Context, r *pb.GetCartRequest) (*pb.Cart, error) {
	stored, err := c.store.HGetAll(ctx, cartKey(r.GetUserId())).Result()
	if err != nil {
		return nil, storeError(err)
	}
	found := &pb.Cart{UserId: r.GetUserId()}
	for id, text := range stored {
		quantity, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, status.Errorf(codes.DataLoss, "the stored cart is broken: %v", err)
		}
		found.Items = append(found.Items, &pb.CartItem{ProductId: id, Quantity: int32(quantity)})
	}
	slices.SortFunc(found.Items, func(a, b *pb.CartItem) int { return strings.Compare(a.ProductId, b.ProductId) })
	return found, nil
}

func (c *cart) EmptyCart(ctx context.Context, r *pb.EmptyCartRequest) (*pb.Empty, error) {
	return &pb.Empty{}, storeError(c.store.Del(ctx, cartKey(r.GetUserId())).Err())
}

func cartKey(user string) string { return "cart:" + user }

func storeError(err error) error {
	if err == nil {
		return nil
	}
	return status.Errorf(codes.FailedPrecondition, "can't access cart storage: %v", err)
}
