package generate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// clicks makes page views: as in the log of a web analytics service, most columns have few values or one value most of
// the time, and many strings are empty.
type clicks struct {
	seed        uint64
	rows, users int64
}

// PopularSite is the counter_id of a site that has about two thousandths of the views.
const PopularSite = 62

// clickColumns are names and types: h SMALLINT, i INTEGER, b BIGINT, t TEXT, m TIMESTAMP, d DATE.
const clickColumns = `watch_id b, java_enable h, title t, good_event h, event_time m, event_date d, counter_id i,
	client_ip i, region_id i, user_id b, counter_class h, os h, user_agent h, url t, referer t, is_refresh h,
	referer_category_id h, resolution_width h, resolution_height h, resolution_depth h, mobile_phone h,
	mobile_phone_model t, traffic_source_id h, search_engine_id h, search_phrase t, adv_engine_id h,
	window_client_width h, window_client_height h, is_link h, is_download h, dont_count_hits h, url_hash b,
	referer_hash b, age h, sex h, interests h, browser_language t, social_network t, params t, utm_source t`

// Clicks is the table of page views: 31 days of July 2013 in the order of time.
func Clicks(rows int64, seed uint64) *Table {
	types := map[string]arrow.DataType{"h": arrow.PrimitiveTypes.Int16, "i": arrow.PrimitiveTypes.Int32,
		"b": arrow.PrimitiveTypes.Int64, "t": arrow.BinaryTypes.String, "d": arrow.FixedWidthTypes.Date32,
		"m": &arrow.TimestampType{Unit: arrow.Microsecond}}
	var fields []arrow.Field
	for c := range strings.SplitSeq(clickColumns, ",") {
		name, typ, _ := strings.Cut(strings.TrimSpace(c), " ")
		fields = append(fields, arrow.Field{Name: name, Type: types[typ]})
	}
	g := &clicks{seed: seed, rows: rows, users: max(rows/5, 1)}
	t := &Table{Name: "hits", Rows: rows, Schema: arrow.NewSchema(fields, nil)}
	t.fill = func(b *array.RecordBuilder, first, end int64) {
		for row := first; row < end; row++ {
			g.hit(clickBuilders{builders{b}, 0}, row)
		}
	}
	return t
}

// clickBuilders append to the columns from left to right.
type clickBuilders struct {
	builders
	at int
}

func (c *clickBuilders) next() int { c.at++; return c.at - 1 }

func (c *clickBuilders) small(values ...int64) {
	for _, v := range values {
		c.int16(c.next(), int16(v))
	}
}
func (c *clickBuilders) ints(values ...int64) {
	for _, v := range values {
		c.int32(c.next(), int32(v))
	}
}
func (c *clickBuilders) bigs(values ...int64) {
	for _, v := range values {
		c.int64(c.next(), v)
	}
}
func (c *clickBuilders) texts(values ...string) {
	for _, v := range values {
		c.text(c.next(), v)
	}
}

var (
	topics = strings.Fields(`news video weather football cinema recipes cars phones music games travel hotel jobs
		school doctor garden fashion shoes kitchen furniture insurance bank loans photos maps dating forum chat`)
	models     = strings.Fields("iPad iPhone Galaxy-S Galaxy-Note Nexus-7 Lumia-800 Xperia-Z One-X Optimus Asha-200")
	languages  = strings.Fields("en ru de fr tr es it uk kk pl")
	widths     = []int64{1366, 1366, 1366, 1920, 1920, 1280, 1280, 1024, 1440, 1600, 1680, 768, 320}
	heights    = []int64{768, 768, 768, 1080, 1080, 1024, 800, 768, 900, 900, 1050, 1024, 480}
	socials    = strings.Fields("vk facebook twitter odnoklassniki")
	hostSuffix = []string{"com", "ru", "net", "org", "de"}
)

// user is what stays the same from view to view.
type user struct {
	id, ip, region, os, agent, screen, age, sex, interests, phone int64
	model, language                                               string
}

func (g *clicks) user(n int64) user {
	r := newRandom(g.seed, seedClick, -1-n)
	u := user{id: int64(r.next() >> 1), ip: int64(int32(r.next())), region: 1 + r.skewed(5000), os: r.skewed(60),
		agent: r.skewed(80), screen: r.below(int64(len(widths))), interests: r.skewed(20_000),
		language: pick(&r, languages)}
	if r.chance(600) {
		u.age, u.sex = pick(&r, []int64{16, 22, 31, 39, 50}), r.between(1, 2)
	}
	if r.chance(60) {
		at := r.skewed(int64(len(models)))
		u.phone, u.model = at+1, models[at]
	}
	return u
}

// site is the host of a counter.
func site(counter int64) string {
	n := int64(len(topics))
	return topics[counter%n] + strconv.FormatInt(counter/n%1000, 10) + "." + hostSuffix[counter%5]
}

// address is the URL of a page of a site; few pages have most of the views.
func (r *random) address(counter int64) string {
	page := r.skewed(1 << 9)
	if r.chance(100) {
		page = r.below(1 << 40) // a page that nobody else looks at
	}
	host := site(counter)
	if r.chance(2) {
		host = "www.google.com/url/" + host
	}
	prefix := "http://"
	if counter%5 == 0 {
		prefix = "https://www."
	}
	b := append(make([]byte, 0, 128), prefix...)
	b = append(append(b, host...), '/')
	b = append(append(b, topics[page%int64(len(topics))]...), '/')
	b = append(append(b, topics[page/7%int64(len(topics))]...), "/view.html?id="...)
	b = strconv.AppendInt(b, page, 10)
	if page&3 == 0 {
		b = strconv.AppendInt(append(b, "&section="...), counter, 10)
	}
	return string(b)
}

func (r *random) phrase() string {
	n := r.skewed(400_000)
	s := newRandom(uint64(n), seedClick, 0)
	var words []string
	for range 1 + s.below(4) {
		words = append(words, pick(&s, topics))
	}
	return strings.Join(append(words, strconv.FormatInt(n, 36)), " ")
}

// hash is what stands in the columns of hashes.
func hash(text string) int64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return int64(h >> 1)
}

func (g *clicks) hit(c clickBuilders, row int64) {
	r := newRandom(g.seed, seedClick, row)
	u := g.user(r.skewed(g.users))
	first := day(2013, time.July, 1) * 86_400_000_000
	const month = 31 * 86_400_000_000
	at := first + int64(float64(row)/float64(g.rows)*month)
	at -= at % 1_000_000
	counter := 1 + r.skewed(20_000)
	if r.chance(2) {
		counter = PopularSite
	}
	url, referer, title := r.address(counter), "", ""
	if r.chance(800) {
		referer = r.address(1 + r.skewed(20_000))
	}
	if r.chance(850) {
		title = fmt.Sprintf("%s and %s - %s", topics[hash(url)%int64(len(topics))], pick(&r, topics), site(counter))
		if r.chance(1) {
			title += " | Google"
		}
	}
	if r.chance(15) {
		url = ""
	}
	source, engine, phrase, adv := pick(&r, []int64{-1, -1, 0, 0, 1, 3, 5, 6}), int64(0), "", int64(0)
	if r.chance(130) {
		source, engine, phrase = 2, 1+r.skewed(30), r.phrase()
	}
	if r.chance(7) {
		adv = 2 + r.skewed(30)
	}
	rare := func(thousandths int64, text string) string {
		if r.chance(thousandths) {
			return text
		}
		return ""
	}
	flag := func(thousandths int64) int64 {
		if r.chance(thousandths) {
			return 1
		}
		return 0
	}
	c.bigs(int64(r.next() >> 1))
	c.small(flag(700))
	c.texts(title)
	c.small(1)
	c.moment(c.next(), at)
	c.date(c.next(), int32(at/86_400_000_000))
	c.ints(counter, u.ip, u.region)
	c.bigs(u.id)
	c.small(counter&1, u.os, u.agent)
	c.texts(url, referer)
	c.small(flag(150), hash(site(counter))%900, widths[u.screen], heights[u.screen], 24, u.phone)
	c.texts(u.model)
	c.small(source, engine)
	c.texts(phrase)
	c.small(adv, widths[u.screen]-r.skewed(200), heights[u.screen]-100-r.skewed(150), flag(30), flag(5), flag(80))
	c.bigs(hash(url), hash(referer))
	c.small(u.age, u.sex, u.interests)
	c.texts(u.language, rare(10, pick(&r, socials)), rare(30, "session="+strconv.FormatInt(u.id&0xFFFF, 10)),
		rare(20, pick(&r, socials)))
}
