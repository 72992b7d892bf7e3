package generate

import "strings"

// The words that the queries of TPC-H ask for, and those that comments are made of.
var (
	regions = []string{"AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"}
	nations = []struct {
		name   string
		region int64
	}{{"ALGERIA", 0}, {"ARGENTINA", 1}, {"BRAZIL", 1}, {"CANADA", 1}, {"EGYPT", 4}, {"ETHIOPIA", 0}, {"FRANCE", 3},
		{"GERMANY", 3}, {"INDIA", 2}, {"INDONESIA", 2}, {"IRAN", 4}, {"IRAQ", 4}, {"JAPAN", 2}, {"JORDAN", 4}, {"KENYA", 0},
		{"MOROCCO", 0}, {"MOZAMBIQUE", 0}, {"PERU", 1}, {"CHINA", 2}, {"ROMANIA", 3}, {"SAUDI ARABIA", 4}, {"VIETNAM", 2},
		{"RUSSIA", 3}, {"UNITED KINGDOM", 3}, {"UNITED STATES", 1}}
	colors = strings.Fields(`almond antique aquamarine azure beige bisque black blanched blue blush brown burlywood
		burnished chartreuse chiffon chocolate coral cornflower cornsilk cream cyan dark deep dim dodger drab firebrick
		floral forest frosted gainsboro ghost goldenrod green grey honeydew hot indian ivory khaki lace lavender lawn lemon
		light lime linen magenta maroon medium metallic midnight mint misty moccasin navajo navy olive orange orchid pale
		papaya peach peru pink plum powder puff purple red rose rosy royal saddle salmon sandy seashell sienna sky slate
		smoke snow spring steel tan thistle tomato turquoise violet wheat white yellow`)
	types1       = []string{"STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"}
	types2       = []string{"ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"}
	types3       = []string{"TIN", "NICKEL", "BRASS", "STEEL", "COPPER"}
	containers1  = []string{"SM", "LG", "MED", "JUMBO", "WRAP"}
	containers2  = []string{"CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"}
	marketings   = []string{"AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"}
	priorities   = []string{"1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"}
	instructions = []string{"DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"}
	shipModes    = []string{"REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"}

	nouns = strings.Fields(`foxes ideas theodolites pinto-beans instructions dependencies excuses platelets asymptotes
		courts dolphins multipliers sauternes warthogs frets dinos attainments somas braids hockey-players frays warhorses
		dugouts notornis epitaphs pearls tithes waters orbits gifts sheaves depths sentiments decoys realms pains grouches
		escapades packages requests accounts deposits`)
	verbs = strings.Fields(`sleep wake are cajole haggle nag use boost affix detect integrate maintain nod was lose sublate
		solve thrash promise engage hinder print x-ray breach eat grow impress mold poach serve run dazzle snooze doze
		unwind kindle play hang believe doubt`)
	adjectives = strings.Fields(`furious sly careful blithe quick fluffy slow quiet ruthless thin close dogged daring brave
		stealthy permanent enticing idle busy regular final ironic even bold silent special pending express unusual`)
	adverbs = strings.Fields(`sometimes always never furiously slyly carefully blithely quickly fluffily slowly quietly
		ruthlessly thinly closely doggedly daringly bravely stealthily permanently enticingly idly busily regularly finally
		ironically evenly boldly silently`)
	prepositions = strings.Fields(`about above across after against along among around at atop before behind beneath beside
		between beyond by despite during except for from in into near of on outside over past since through throughout to
		toward under until up upon without with within`)
)

// poolBytes is the length of the text that comments are cut from.
const poolBytes = 4 << 20

// textPool is sentences; comments are pieces of it, as the specification has them.
func textPool(seed uint64) string {
	r := newRandom(seed, 99, 0)
	var b strings.Builder
	b.Grow(poolBytes + 256)
	phrase := func() {
		if r.chance(500) {
			b.WriteString(pick(&r, adjectives))
			b.WriteByte(' ')
		}
		b.WriteString(pick(&r, nouns))
	}
	for b.Len() < poolBytes {
		phrase()
		b.WriteByte(' ')
		b.WriteString(pick(&r, verbs))
		b.WriteByte(' ')
		switch r.below(3) {
		case 0:
			b.WriteString(pick(&r, adverbs))
		case 1:
			b.WriteString(pick(&r, prepositions))
			b.WriteString(" the ")
			phrase()
		default:
			b.WriteString(pick(&r, adverbs))
			b.WriteByte(' ')
			b.WriteString(pick(&r, prepositions))
			b.WriteString(" the ")
			phrase()
		}
		b.WriteString(pick(&r, []string{". ", ". ", "; ", "? ", "! ", "-- "}))
	}
	return b.String()
}
