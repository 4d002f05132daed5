"""How notes speak of the heart, the vessels and the blood."""

CIRCULATION = """
I10, 0.46, chronic, age 0.25, inherited
codes: I10
formal: essential hypertension; high blood pressure; arterial hypertension;
long-standing raised blood pressure
shorthand: HTN; HBP on meds; hypertensive
evidence: clinic readings of {150..178}/{88..104}; home systolics in the {150..170}s despite two
agents;
blood pressure above target with amlodipine doubled; {152..184} systolic on arrival, settling on
usual tablets;
antihypertensives uptitrated by the family doctor
drugs: amlodipine 5 mg daily; lisinopril 20 mg daily; losartan 50 mg daily; hydrochlorothiazide 25
mg daily

I50, 0.20, chronic, lead 0.6, age 0.3
codes: I50.9; I50.22 = chronic systolic type, ejection fraction {20..38}%;
I50.33 = acute on chronic diastolic type, preserved ejection fraction
formal: congestive heart failure; cardiac failure; decompensated heart failure; weakened pumping
function of the heart
shorthand: CHF; HF exac; fluid overloaded from the heart; CCF
evidence: BNP of {820..4300} with bibasilar crackles and pitting leg edema; orthopnea and {4..11}
kg weight gain;
net {4..9} litres off with intravenous furosemide; elevated jugular veins, S3 gallop and swollen
ankles;
furosemide drip for volume overload; three-pillow orthopnea and dietary salt indiscretion
imaging: cardiomegaly with pulmonary vascular congestion; bilateral perihilar edema with Kerley B
lines
drugs: furosemide 40 mg twice daily; carvedilol 12.5 mg twice daily; sacubitril-valsartan 49-51 mg
twice daily; torsemide 20 mg daily
complaints: shortness of breath and swollen legs; breathlessness lying flat

I25, 0.23, chronic, lead 0.15, age 0.3, inherited
codes: I25.10; I25.2 = old infarct on file from years ago; I25.118 = stable exertional angina
formal: coronary artery disease; ischemic heart disease; atherosclerosis of the native coronary
vessels; chronic coronary syndrome
shorthand: CAD; s/p PCI to LAD; IHD; 3VD s/p CABG
evidence: drug-eluting stent placed in {2009..2014}; bypass grafting in {1999..2008} with patent
grafts;
{50..70}% mid-LAD stenosis on an old angiogram; exertional chest tightness relieved by
nitroglycerin;
reversible inferior perfusion defect on a stress test
drugs: aspirin 81 mg daily; isosorbide mononitrate 30 mg daily; clopidogrel 75 mg daily;
nitroglycerin 0.4 mg sublingual as needed
complaints: chest tightness on walking

I48, 0.20, chronic, lead 0.25, age 0.4
codes: I48.91; I48.0 = paroxysmal, back in sinus rhythm; I48.20 = permanent, rate control only
formal: atrial fibrillation; auricular fibrillation; fibrillating atria with rapid ventricular
response
shorthand: AF; Afib; AF w/ RVR
evidence: irregularly irregular pulse at {112..156}; CHA2DS2-VASc of {3..6} on apixaban; diltiazem
drip for rapid ventricular rates;
absent P waves on telemetry; INR goal 2 to 3 for an irregular rhythm
drugs: apixaban 5 mg twice daily; warfarin 5 mg nightly; metoprolol succinate 50 mg daily;
diltiazem 120 mg daily; rivaroxaban 20 mg daily
complaints: palpitations; racing heart

I21, 0.06, acute, lead 1.0, age 0.2, inherited
codes: I21.4; I21.11 = inferior ST elevation from the right coronary artery; I21.9
formal: acute myocardial infarction; heart attack; acute coronary syndrome with infarction; acute
coronary occlusion
shorthand: acute MI; ACS w/ trop leak; MI s/p cath
evidence: troponin peak of {4.1..38.0} with an evolving ECG; urgent catheterization with stenting
of a culprit lesion;
heparin drip and dual antiplatelets for dynamic ST changes; crushing substernal pain with rising
troponins;
new regional wall motion abnormality with a CK-MB of {40..160}
drugs: ticagrelor 90 mg twice daily; aspirin 81 mg daily; atorvastatin 80 mg nightly
complaints: crushing chest pain; chest pain going into the left arm

I35, 0.04, chronic, lead 0.3, age 0.6
codes: I35.0 = stenosis without regurgitation; I35.2 = narrowed and leaking as well
formal: nonrheumatic aortic valve disease; calcific aortic valve degeneration; senile degeneration
of the aortic valve
shorthand: AV dz; severe AS; AVD awaiting TAVR
evidence: valve area of {0.6..0.9} cm2 with a mean gradient of {42..61} mmHg; late-peaking systolic
murmur at the right upper sternal border;
referral for transcatheter valve replacement; delayed, weak carotid upstroke with a harsh murmur
imaging: heavy calcification of the aortic valve leaflets
complaints: fainting on exertion

I26, 0.025, acute, lead 1.0
codes: I26.99; I26.09 = right heart strain with cor pulmonale
formal: pulmonary embolism; clot in the pulmonary arteries; acute pulmonary thromboembolism
shorthand: PE; bilat PEs; submassive PE
evidence: tachycardia and pleuritic pain with a D-dimer of {2400..8800}; systemic heparin after a
positive CT angiogram of the chest;
sudden hypoxia with clear lungs and a swollen calf; six months of anticoagulation planned for a
lung clot
imaging: segmental filling defects in the right lower lobe arteries; saddle thrombus across the
main pulmonary artery
drugs: apixaban 10 mg twice daily for 7 days then 5 mg; enoxaparin 1 mg/kg twice daily
complaints: sudden breathlessness with sharp chest pain

I63, 0.035, acute, lead 1.0, age 0.3, inherited
codes: I63.9; I63.412 = embolic, left middle cerebral artery; I63.81 = small vessel, lacunar type
formal: ischemic stroke; cerebral infarction; acute brain infarct
shorthand: CVA; acute CVA, s/p tPA; ischemic CVA
evidence: sudden right-sided weakness with slurred speech, NIHSS {5..19}; alteplase given within
the window with residual facial droop;
word-finding difficulty and a left pronator drift; new hemiparesis and neglect
imaging: fresh area of restricted diffusion in the left hemisphere
drugs: clopidogrel 75 mg daily; atorvastatin 80 mg nightly
complaints: sudden weakness of one arm; slurred speech

I70, 0.06, chronic, lead 0.25, age 0.4
codes: I70.209; I70.213 = calf claudication of both legs; I70.235 = nonhealing ischemic ulcer of
the right foot
formal: atherosclerosis of the leg arteries; peripheral arterial disease; arteriosclerosis of the
extremities
shorthand: PAD; PVD; PVD s/p fem-pop
evidence: ankle-brachial index of {0.38..0.69}; absent pedal pulses with dependent rubor; cramping
calves after one block of walking;
femoral-popliteal bypass and cilostazol
drugs: cilostazol 100 mg twice daily; clopidogrel 75 mg daily
complaints: painful cold foot

I82, 0.03, acute, lead 0.6
codes: I82.409; I82.411 = right femoral vein; I82.432 = left popliteal vein
formal: deep vein thrombosis of the leg; acute venous thrombosis; clot in a deep leg vein
shorthand: DVT; LE DVT; +duplex for clot
evidence: noncompressible leg vein on duplex; unilateral calf swelling {3..5} cm larger than the
other side;
anticoagulation begun for a warm swollen calf; vena cava filter placed because of bleeding risk
imaging: echogenic thrombus in a noncompressible vein
drugs: rivaroxaban 15 mg twice daily; enoxaparin 80 mg twice daily
complaints: swollen painful calf

I95, 0.08, acute, lead 0.2, age 0.1
codes: I95.9; I95.1 = drop of {24..42} mmHg on standing; I95.2 = after antihypertensive doses
formal: hypotension; low blood pressure; abnormally low arterial pressure
shorthand: hypoTN; soft BPs; orthostatic
evidence: systolic of {72..88} needing a fluid bolus; midodrine begun for lightheadedness on
standing;
pressures in the 80s with home antihypertensives held; dizziness and greying out on getting up
drugs: midodrine 5 mg three times daily
complaints: lightheadedness on standing

D50, 0.07, chronic, lead 0.1
codes: D50.9; D50.0 = slow chronic loss of blood
formal: iron deficiency anemia; anemia from depleted iron stores; sideropenic anemia
shorthand: IDA; Fe def; iron-def anemia
evidence: ferritin of {4..12} with an MCV of {66..76}; intravenous iron sucrose course;
microcytosis and low transferrin saturation;
pica and spoon-shaped nails with low iron
drugs: ferrous sulfate 325 mg daily; iron sucrose 200 mg weekly

D62, 0.07, acute, lead 0.1
codes: D62
formal: acute blood loss anemia; acute posthemorrhagic anemia; anemia after brisk bleeding
shorthand: ABLA; acute drop in H/H; ABL anemia
evidence: hemoglobin fall from {hemoglobin 11.2..13.4} to {hemoglobin 6.2..7.8}; {2..5} units of
packed cells for a bleeding-related drop;
transfusion after losing {900..1600} mL of blood; postoperative count down {hemoglobin 3.1..5.2}
needing transfusion

D64, 0.14, chronic
codes: D64.9
formal: anemia of unclear cause; unspecified anemia; chronically low red cell count
shorthand: chronic anemia NOS; low Hgb at baseline; anemic
evidence: stable hemoglobin of {hemoglobin 8.6..10.4} without bleeding; pallor with a baseline
hematocrit of {26..31}%;
normocytic picture with normal iron studies; reticulocyte index of {0.6..1.4}%

D69, 0.06, acute
codes: D69.6; D69.59 = secondary to a drug; D69.3 = immune destruction
formal: thrombocytopenia; low platelet count; reduced thrombocytes
shorthand: low plts; TCP; plt {38..84}k
evidence: platelets of {22..78} thousand with petechiae; heparin stopped as the platelets halved;
one pack of platelets before the procedure;
smear with few platelets and no schistocytes

D70, 0.02, acute, lead 0.5
codes: D70.9; D70.1 = ten days after chemotherapy
formal: neutropenia; agranulocytosis; dangerously low neutrophils
shorthand: FN; ANC {100..400}; neutropenic
evidence: absolute neutrophil count of {60..420} with a temperature of {temperature 101.1..103.6};
filgrastim until counts recovered;
cefepime for fever after chemotherapy with white cells of {0.3..0.9}
drugs: filgrastim 300 mcg daily; levofloxacin 500 mg daily
complaints: fever and chills after chemotherapy
"""
